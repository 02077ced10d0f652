"""Plain language codes, and which of a checkpoint's own they mean; pure functions on codes.

Codes are BCP 47 tags (`en`, `pt-BR`, `zh-Hans`). What belongs together is for `langcodes` to say,
with the data of Unicode's CLDR; it is imported when the first code is looked up.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from attuner.errors import ModelError

# Members of macrolanguages (ISO 639-3) that CLDR does not resolve: Nigerian Fulfulde, Southern
# Pashto, Ayacucho Quechua.
_MEMBERS = {"fuv": "ff", "pbt": "ps", "quy": "qu"}
# CLDR puts `no` and `nb` at a distance of 1, and the nearest two languages at 8.
_SAME = 1
_NUM_NEAREST = 5
_MOST_LISTED = 60


@dataclass(frozen=True, slots=True)
class Pair:
    """The languages of source and target.

    Attributes:
        source: As asked for, such as `en`; None where nobody said.
        target: As asked for, such as `pt-BR`.
        source_code: As the checkpoint spells it, such as `eng_Latn`; None where it tells no
            languages apart.
        target_code: As the checkpoint spells it.
    """

    source: str | None = None
    target: str | None = None
    source_code: str | None = None
    target_code: str | None = None


def match_language(asked: str, known: Sequence[str]) -> str | None:
    """The known code that means the language asked for; None where none does.

    A known code as it is spelled comes first. Else it must be the same language, not merely a
    similar one, in a script that is not another than the one asked for.

    Args:
        asked: A code such as `en`, `pt-BR`, `zh-Hans`, or a checkpoint's own, such as `fra_Latn`.
        known: Codes in the checkpoint's spelling; what is no code, such as `mul`, is passed over.

    >>> match_language("ar", ["arb_Arab", "arz_Arab"]), match_language("pt-BR", ["pt_XX"])
    ('arb_Arab', 'pt_XX')
    >>> match_language("zh-TW", ["zho_Hans", "zho_Hant"]), match_language("no", ["nob_Latn"])
    ('zho_Hant', 'nob_Latn')
    >>> match_language("lb", ["de_DE"]), match_language("sr-Latn", ["srp_Cyrl"])
    (None, None)
    """
    spelled = {_folded(code): code for code in reversed(known)}
    if _folded(asked) in spelled:
        return spelled[_folded(asked)]
    wanted = _language(asked)
    if wanted is None:
        return None
    alike = [code for code in known if _is_same(wanted, _language(code))]
    if not alike:
        return None
    return min(alike, key=lambda code: _rank(wanted, code))


def nearest_languages(asked: str, known: Sequence[str]) -> list[str]:
    """A few known codes that may be meant: related languages first, then similar spellings."""
    from langcodes import tag_distance

    wanted = _language(asked)
    related: list[str] = []
    if wanted is not None and wanted.is_valid():
        distances = {
            code: tag_distance(wanted, language)
            for code in known
            if (language := _language(code)) is not None
        }
        # Languages without anything in common are 80 apart.
        related = sorted((c for c, d in distances.items() if d < 80), key=lambda c: distances[c])
    similar = difflib.get_close_matches(asked, known, n=_NUM_NEAREST, cutoff=0.4)
    return list(dict.fromkeys([*related, *similar]))[:_NUM_NEAREST]


def require_language(asked: str, known: Sequence[str], *, side: str) -> str:
    """The known code that means the language asked for.

    Args:
        asked: A code.
        known: Codes in the checkpoint's spelling.
        side: `source` or `target`.

    Raises:
        ModelError: There is none; names the nearest ones.
    """
    found = match_language(asked, known)
    if found is not None:
        return found
    near = nearest_languages(asked, known)
    listed = f"Nearest: {', '.join(near)}." if near else ""
    if len(known) <= _MOST_LISTED:
        listed = f"{listed} All: {', '.join(sorted(known))}.".strip()
    raise ModelError(
        f'The checkpoint does not know the {side} language "{asked}".',
        f"Expected a code such as en, pt-BR or zh-Hans of one of its {len(known)} languages. "
        f"{listed}".strip(),
        "List them all with: attuner translate MODEL --list-languages",
    )


def require_target(known: Sequence[str], pair: Pair) -> None:
    """Refuse to translate where a checkpoint of many languages was not told into which one.

    Raises:
        ModelError: It was not told.
    """
    if known and pair.target_code is None:
        raise ModelError(
            f"The checkpoint translates between {len(known)} languages, and none was chosen."
            if len(known) > 1
            else f"The checkpoint wants to be told the language ({known[0]}).",
            "Expected the languages of the texts, as codes such as en, pt-BR or zh-Hans.",
            "Give them: --source en --target fr on the command line, "
            'source="en", target="fr" in Python.',
        )


def plain_code(code: str) -> str:
    """A checkpoint's own code as a plain one; what is no code stays as it is.

    >>> plain_code("eng_Latn"), plain_code("pt_XX"), plain_code("zho_Hant"), plain_code("ROMANCE")
    ('en', 'pt', 'zh-Hant', 'ROMANCE')
    """
    language = _language(code)
    if language is None:
        return code
    plain = language.prefer_macrolanguage().simplify_script()
    territory = None if plain.territory == "XX" else plain.territory
    return str(plain.update_dict({"territory": territory}).to_tag())


def language_name(code: str) -> str:
    """The English name of a language, without region and script.

    Raises:
        ModelError: The code stands for no language.

    >>> language_name("fr"), language_name("pt-BR")
    ('French', 'Portuguese')
    """
    language = _language(code)
    if language is None or not language.is_valid():
        raise ModelError(
            f'"{code}" is not the code of a language that has an English name.',
            "The checkpoint is told by name what to do: translate English to French.",
            "Give a code such as en or pt-BR, or the words themselves: task.prefix=...",
        )
    return str(language.language_name("en"))


def _folded(code: str) -> str:
    return code.lower().replace("_", "-")


@lru_cache(maxsize=4096)
def _language(code: str) -> Any:
    """The code as `langcodes` understands it; None where it is none."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    head, separator, rest = re.fullmatch(r"([^_-]*)([_-]?)(.*)", code, re.S).groups()  # type: ignore[union-attr]
    try:
        language = Language.get(f"{_MEMBERS.get(head, head)}{separator}{rest}")
    except LanguageTagError:
        return None
    return language if language.language else None


def _is_same(wanted: Any, known: Any) -> bool:
    """Whether it is the same language, in no other script than wanted."""
    from langcodes import tag_distance

    if known is None:
        return False
    ours, theirs = wanted.prefer_macrolanguage(), known.prefer_macrolanguage()
    if ours.language != theirs.language and tag_distance(ours.language, theirs.language) > _SAME:
        return False
    # A script is asked for by its name or by a region (zh-TW). A known code that names neither
    # stands for any: M2M100's `zh`.
    says_script = wanted.script is not None or wanted.territory is not None
    is_any = known.script is None and known.territory is None
    if not says_script or is_any:
        return True
    return bool(ours.maximize().script == theirs.maximize().script)


def _rank(wanted: Any, code: str) -> tuple[int, bool, bool]:
    """How far a code of the same language is: the least is the one that is meant."""
    from langcodes import tag_distance

    known = _language(code)
    return (
        tag_distance(wanted, known),
        # Twi and Akan are one language to CLDR; a checkpoint that has both means the two.
        known.to_alpha3() != wanted.to_alpha3(),
        known.language != wanted.language,
    )


def codes_in(tokens: Iterable[str], spelling: str, code: str) -> dict[str, str]:
    """The language codes among tokens, each with its token.

    Args:
        tokens: Tokens of a vocabulary.
        spelling: How a language's token is spelled, `{}` for the code.
        code: Regular expression of the codes.

    >>> codes_in(["__fr__", "fr", "__"], "__{}__", "[a-z]{2}")
    {'fr': '__fr__'}
    """
    before, after = map(re.escape, spelling.split("{}"))
    pattern = re.compile(f"{before}({code}){after}")
    found = ((pattern.fullmatch(token), token) for token in tokens)
    return {match[1]: token for match, token in found if match}
