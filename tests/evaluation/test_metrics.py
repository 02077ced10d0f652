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
