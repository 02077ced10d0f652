"""Metrics: published values, statistics, languages."""

from __future__ import annotations

import random

import pytest

from attuner.evaluation.metrics import METRICS, bleu_tokenizer

REFERENCE = "This plugin allows you to automatically translate web pages between several languages."


# The worked examples of the Hugging Face course, chapter 7, "Translation".
@pytest.mark.parametrize(
    ("prediction", "bleu"),
    [
        (
            "This plugin lets you translate web pages between several languages automatically.",
            46.750469682990165,
        ),
        ("This This This This", 1.683602693167689),
        ("This plugin", 0.0),
    ],
)
def test_bleu_has_the_published_values(prediction: str, bleu: float) -> None:
    score = METRICS["bleu"]([prediction], [[REFERENCE]], "en")
    assert score.value == pytest.approx(bleu, abs=1e-9)


# README of sacrebleu, "Using SacreBLEU from Python".
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


def test_values_of_sacrebleus_readme() -> None:
    bleu = METRICS["bleu"](SYSTEM, REFERENCES, "en")
    assert bleu.value == pytest.approx(48.530827, abs=1e-6)
    assert bleu.signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    chrf = METRICS["chrf"](SYSTEM, REFERENCES, "en")
    assert chrf.value == pytest.approx(59.73, abs=0.005)
    assert chrf.signature.startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_ter_by_hand() -> None:
    # One substitution among four words.
    assert METRICS["ter"](["a b c d"], [["a b x d"]], "en").value == pytest.approx(25.0)
    assert not METRICS["ter"].higher_is_better


@pytest.mark.parametrize("name", sorted(METRICS))
def test_statistics_give_the_score_of_any_selection(name: str) -> None:
    metric = METRICS[name]
    whole = metric(SYSTEM, REFERENCES, "en")
    assert metric.combine(whole.per_example) == whole.value
    chosen = random.Random(0).choices(range(3), k=5)
    drawn = metric([SYSTEM[i] for i in chosen], [REFERENCES[i] for i in chosen], "en")
    assert metric.combine([whole.per_example[i] for i in chosen]) == pytest.approx(drawn.value)


# The example in the README of google-research/rouge, counted by hand.
def test_rouge_by_hand() -> None:
    target = "The quick brown fox jumps over the lazy dog"
    prediction = "The quick brown dog jumps on the log."
    # rouge1: precision 6/8, recall 6/9; rougeL: precision 5/8, recall 5/9.
    assert METRICS["rouge1"]([prediction], [[target]], "en").value == pytest.approx(
        70.588, abs=1e-3
    )
    assert METRICS["rougeL"]([prediction], [[target]], "en").value == pytest.approx(
        58.823, abs=1e-3
    )


def test_rouge_takes_the_nearest_reference_and_the_mean_of_examples() -> None:
    score = METRICS["rouge2"](["a b c", "x"], [["c b a", "a b d"], ["y"]], "en")
    assert score.per_example == [[pytest.approx(50.0)], [0.0]]  # "a b" of two pairs each
    assert score.value == pytest.approx(25.0)
    assert score.signature.startswith("refs:best|measure:f1|tok:rouge-score|stem:no|version:0.1")


@pytest.mark.parametrize(
    ("language", "prediction", "reference", "value"),
    [
        ("fr", "L'élève lit", "l'élève écrit", 200 / 3),  # l, élève of three words each
        ("ru", "Открыть файл", "открыть файл.", 100.0),
        ("zh-Hans", "打开文件", "打开文档", 75.0),  # three of four characters
        ("ja_XX", "開く", "開く。", 100.0),
        ("hi", "यह किला है", "यह कीला है", 200 / 3),  # another vowel sign: another word
        ("ar", "مُحَمَّد", "مُحَمَّدٌ", 0.0),
        ("tr", "İstanbul", "İzmir", 0.0),  # lower case of İ is i and a dot above it
        ("th", "ที่", "ที", 0.0),  # a character is a letter with its marks
    ],
)
def test_rouge_knows_other_scripts(
    language: str, prediction: str, reference: str, value: float
) -> None:
    score = METRICS["rouge1"]([prediction], [[reference]], language)
    assert score.value == pytest.approx(value)
    assert "|tok:unicode|" in score.signature


# By hand after evaluate-v1.1.py of SQuAD: case, punctuation and articles do not count.
@pytest.mark.parametrize(
    ("prediction", "references", "exact_match", "token_f1"),
    [
        ("The Eiffel Tower.", ["eiffel tower"], 100, 100),
        ("Eiffel Tower in Paris", ["Paris", "the Eiffel Tower"], 0, 200 / 3),  # 2/4 and 2/2
        ("Lyon", ["Paris", "the city of Paris"], 0, 0),
        ("a", ["the"], 100, 100),
    ],
)
def test_answers_are_scored_as_in_squad(
    prediction: str, references: list[str], exact_match: float, token_f1: float
) -> None:
    assert METRICS["exact_match"]([prediction], [references], "en").value == exact_match
    score = METRICS["token_f1"]([prediction], [references], "en")
    assert score.value == pytest.approx(token_f1)
    assert score.signature == (
        "refs:best|case:lc|punctuation:removed|articles:removed|as:squad-1.1"
    )


def test_answers_in_other_languages_keep_their_words() -> None:
    exact, f1 = METRICS["exact_match"], METRICS["token_f1"]
    assert exact(["« Il y a un prix »"], [["il y un prix"]], "fr").value == 0  # no article
    assert exact(["¿Dónde?"], [["dónde"]], "es").value == 100
    assert f1(["北京市"], [["北京"]], "zho_Hans").value == pytest.approx(80)  # 2/3 and 2/2


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("zh-Hans", "zh"), ("zh_CN", "zh"), ("zho_Hant", "zh"), ("yue_Hant", "zh"),
        ("fr_XX", "13a"), ("fra_Latn", "13a"), ("pt-BR", "13a"), ("pt_XX", "13a"),
    ],
)  # fmt: skip
def test_bleus_words_by_codes_of_plain_nllb_and_mbart_spelling(code: str, name: str) -> None:
    assert bleu_tokenizer(code) == name


@pytest.mark.parametrize("code", ["ja", "ja_XX", "jpn_Jpan", "ko", "ko_KR", "kor_Hang"])
def test_japanese_and_korean_never_count_as_words_between_spaces(code: str) -> None:
    assert bleu_tokenizer(code) in ("ja-mecab", "ko-mecab", "char")


def test_numbers_of_references_may_differ() -> None:
    uneven = [["x y z w"], ["No one was surprised.", "It wasn't surprising."], ["Nothing."]]
    score = METRICS["bleu"](SYSTEM, uneven, "en")
    assert "nrefs:var" in score.signature
    alone = METRICS["bleu"](SYSTEM[1:2], uneven[1:2], "en")
    assert score.per_example[1] == alone.per_example[0]


def test_chinese_is_cut_into_characters() -> None:
    assert "tok:zh" in METRICS["bleu"](["打开文件"], [["打开文件"]], "zh-Hans").signature
    # 13a takes the whole text for one word and finds no common 4-gram.
    assert METRICS["bleu"](["打开一个文件"], [["打开一个文档"]], "zh").value > 40
    assert METRICS["bleu"](["打开一个文件"], [["打开一个文档"]], "en").value == 0


@pytest.mark.parametrize("language", ["ja", "ko", "jpn_Jpan"])
def test_the_signature_tells_how_japanese_and_korean_were_cut(language: str) -> None:
    signature = METRICS["bleu"](["ファイルを開く"], [["ファイルを開く"]], language).signature
    assert f"tok:{bleu_tokenizer(language)}" in signature
    assert "tok:13a" not in signature


def test_without_a_dictionary_characters_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object, *args: object, **kwargs: object) -> None:
        raise RuntimeError("Japanese tokenization requires extra dependencies")

    monkeypatch.setattr("sacrebleu.metrics.BLEU.__init__", missing)
    assert bleu_tokenizer("ja") == "char"
    assert bleu_tokenizer("fr") == "13a"


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="0 predictions, 0 references"):
        METRICS["bleu"]([], [], "en")
    with pytest.raises(ValueError, match="an example has no reference"):
        METRICS["bleu"](["a"], [[]], "en")
