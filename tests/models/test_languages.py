"""Which of a checkpoint's codes is meant by a plain one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from attuner.errors import ModelError
from attuner.models.languages import (
    Pair,
    codes_in,
    language_name,
    match_language,
    nearest_languages,
    plain_code,
    require_language,
    require_target,
)

MBART = ["ar_AR", "de_DE", "en_XX", "fa_IR", "fr_XX", "pt_XX", "ro_RO", "sw_KE", "tl_XX", "zh_CN"]
M2M100 = ["ar", "en", "fr", "he", "no", "pt", "sr", "tl", "zh"]
NLLB = [
    "acm_Arab", "aka_Latn", "arb_Arab", "arz_Arab", "eng_Latn", "fra_Latn", "fuv_Latn", "heb_Hebr",
    "kor_Hang", "lvs_Latn", "nno_Latn", "nob_Latn", "pbt_Arab", "pes_Arab", "por_Latn", "prs_Arab",
    "quy_Latn", "srp_Cyrl", "swh_Latn", "tgl_Latn", "twi_Latn", "yue_Hant", "zho_Hans", "zho_Hant",
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "mbart", "m2m100", "nllb"),
    [
        ("en", "en_XX", "en", "eng_Latn"),
        ("fr-CA", "fr_XX", "fr", "fra_Latn"),
        ("pt-BR", "pt_XX", "pt", "por_Latn"),
        ("ar", "ar_AR", "ar", "arb_Arab"),
        ("arz", None, None, "arz_Arab"),
        ("fa", "fa_IR", None, "pes_Arab"),
        ("prs", "fa_IR", None, "prs_Arab"),
        ("no", None, "no", "nob_Latn"),
        ("nb", None, "no", "nob_Latn"),
        ("nn", None, None, "nno_Latn"),
        ("sw", "sw_KE", None, "swh_Latn"),
        ("zh", "zh_CN", "zh", "zho_Hans"),
        ("zh-Hans", "zh_CN", "zh", "zho_Hans"),
        ("zh-TW", None, "zh", "zho_Hant"),
        ("yue", None, None, "yue_Hant"),
        ("iw", None, "he", "heb_Hebr"),
        ("fil", "tl_XX", "tl", "tgl_Latn"),
        ("ko", None, None, "kor_Hang"),
        ("lv", None, None, "lvs_Latn"),
        ("tw", None, None, "twi_Latn"),
        ("ff", None, None, "fuv_Latn"),
        ("ps", None, None, "pbt_Arab"),
        ("qu", None, None, "quy_Latn"),
        ("sr-Latn", None, "sr", None),  # another script is another text
        ("lb", None, None, None),  # German is near, and not what was asked for
        ("French", None, None, None),
        ("", None, None, None),
    ],
)
def test_plain_codes(asked: str, mbart: str | None, m2m100: str | None, nllb: str | None) -> None:
    assert match_language(asked, MBART) == mbart
    assert match_language(asked, M2M100) == m2m100
    assert match_language(asked, NLLB) == nllb


def test_a_checkpoints_own_codes_are_taken_as_they_are() -> None:
    for known in (MBART, M2M100, NLLB, ["pob", "ROMANCE", "toki_Latn"]):
        assert [match_language(code, known) for code in known] == known
    assert match_language("fra-latn", NLLB) == "fra_Latn"


def test_all_of_the_published_codes_are_found_by_their_plain_ones() -> None:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART50
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB200

    for known in (MBART50, NLLB200):
        missed = [code for code in known if match_language(plain_code(code), known) != code]
        # Twi is a kind of Akan to Unicode; `tw` finds it.
        assert missed in ([], ["twi_Latn"])


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("eng_Latn", "en"), ("fr_XX", "fr"), ("zho_Hant", "zh-Hant"), ("arb_Arab", "ar"),
        ("eng", "en"), ("pt-BR", "pt-BR"), ("ROMANCE", "ROMANCE"), ("", ""),
    ],
)  # fmt: skip
def test_plain_code(code: str, plain: str) -> None:
    assert plain_code(code) == plain


def test_the_nearest_are_related_or_spelled_alike() -> None:
    assert nearest_languages("lb", MBART) == ["de_DE"]
    assert nearest_languages("fra_Latin", NLLB)[0] == "fra_Latn"
    assert nearest_languages("sr-Latn", NLLB)[0] == "srp_Cyrl"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ModelError) as error:
        require_language("lb", ["de_DE", "en_XX"], side="target")
    assert str(error.value) == (
        'The checkpoint does not know the target language "lb".\n'
        "Expected a code such as en, pt-BR or zh-Hans of one of its 2 languages. "
        "Nearest: de_DE. All: de_DE, en_XX.\n"
        "List them all with: attuner translate MODEL --list-languages"
    )


def test_an_unchosen_language_is_refused() -> None:
    require_target((), Pair())
    require_target(("en", "fr"), Pair("en", "fr", "en", "fr"))
    with pytest.raises(ModelError) as error:
        require_target(("en", "fr"), Pair())
    assert str(error.value) == (
        "The checkpoint translates between 2 languages, and none was chosen.\n"
        "Expected the languages of the texts, as codes such as en, pt-BR or zh-Hans.\n"
        'Give them: --source en --target fr on the command line, source="en", target="fr" in '
        "Python."
    )


def test_names() -> None:
    assert [language_name(code) for code in ("en", "fra_Latn", "pt-BR", "zh-Hans")] == [
        "English", "French", "Portuguese", "Chinese",
    ]  # fmt: skip
    with pytest.raises(ModelError) as error:
        language_name("xx")
    assert str(error.value) == (
        '"xx" is not the code of a language that has an English name.\n'
        "The checkpoint is told by name what to do: translate English to French.\n"
        "Give a code such as en or pt-BR, or the words themselves: task.prefix=..."
    )


def test_codes_are_read_from_tokens() -> None:
    tokens = [">>fra<<", ">>pt_br<<", "<<", ">>", "fra", "x>>fra<<"]
    assert codes_in(tokens, ">>{}<<", ".+") == {"fra": ">>fra<<", "pt_br": ">>pt_br<<"}


def test_help_imports_none_of_it() -> None:
    code = (
        "import sys\n"
        "from attuner.cli import main\n"
        "sys.argv = ['attuner', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('langcodes', 'language_data')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
