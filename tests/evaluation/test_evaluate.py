"""Scores of a model are those of whole entries, as its user sees them."""

from __future__ import annotations

import sys

import pytest
from engines import Echo

from attuner.data.units import Address, Example
from attuner.errors import MissingExtraError, UsageError
from attuner.evaluation.evaluate import evaluate
from attuner.evaluation.metrics import METRICS
from attuner.models.languages import Pair


def example(source: str, *references: str, target: str = "fr") -> Example:
    return Example(source, references, "en", target, Address("a.po", "1"))


def test_whole_entries_are_scored_with_all_references() -> None:
    examples = [
        example(" Ouvrir le fichier\nsans attendre ", " Ouvrir le fichier\nsans attendre "),
        example("Fermer toutes les fenêtres", "Fermer tout", "Fermer toutes les fenêtres"),
        example("Le noyau redémarre", "Le noyau se relance"),
    ]
    seen: list[tuple[int, int]] = []
    made = evaluate(Echo(), examples, progress=lambda *counts: seen.append(counts))
    assert made.predictions == [e.source for e in examples]
    references = [e.references for e in examples]
    for name in ("bleu", "chrf"):
        score = METRICS[name](made.predictions, references, "fr")
        assert made.scores[name] == score.value
        assert made.signatures[name] == score.signature
        assert made.per_example[name] == score.per_example
    assert 0 < made.scores["bleu"] < 100
    assert made.engine == "echo 1.0"
    assert (made.num_beams, made.max_new_tokens) == (4, 128)
    assert made.seconds > 0
    assert seen == [(4, 4)]


def test_an_unknown_metric() -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(Echo(), [example("a", "b")], metrics=["blue"])
    assert str(caught.value) == (
        'There is no metric "blue".\nDid you mean "bleu"? '
        "Known: bleu, chrf, exact_match, rouge1, rouge2, rougeL, ter, token_f1."
    )


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="no examples to score"):
        evaluate(Echo(), [])


def test_each_target_language_is_translated_and_scored_for_itself() -> None:
    engine = Echo()
    examples = [
        example("打开一个文件", "打开一个文档", target="zh-Hans"),
        example("Ouvrir le fichier", "Ouvrir le fichier"),
        example("打开文件", "打开文件", target="zh-Hans"),
    ]
    made = evaluate(engine, examples, metrics=["bleu", "chrf"])
    assert [(lines, told) for lines, told, _ in engine.asked] == [
        (["Ouvrir le fichier"], Pair("en", "fr")),
        (["打开一个文件", "打开文件"], Pair("en", "zh-Hans")),
    ]
    assert made.predictions == [e.source for e in examples]
    french = METRICS["bleu"](["Ouvrir le fichier"], [["Ouvrir le fichier"]], "fr")
    chinese = METRICS["bleu"](
        ["打开一个文件", "打开文件"], [["打开一个文档"], ["打开文件"]], "zh-Hans"
    )
    assert list(made.scores) == [
        "bleu", "bleu/fr", "bleu/zh-Hans", "chrf", "chrf/fr", "chrf/zh-Hans",
    ]  # fmt: skip
    assert made.scores["bleu/fr"] == french.value
    assert made.scores["bleu/zh-Hans"] == chinese.value
    assert made.scores["bleu"] == (french.value + chinese.value) / 2
    assert made.signatures["bleu"] == "mean of bleu/fr, bleu/zh-Hans"
    assert "tok:zh" in made.signatures["bleu/zh-Hans"]
    assert made.per_example["bleu"][0] == chinese.per_example[0]
    assert made.per_example["bleu"][1] == french.per_example[0]


def test_a_task_without_languages_tells_the_model_of_none() -> None:
    engine = Echo()
    asked = Example("the answer", ("Answer.",), "", "en", Address("a.jsonl", "1"))
    made = evaluate(engine, [asked], metrics=["exact_match"])
    assert [told for _, told, _ in engine.asked] == [Pair()]
    assert made.scores == {"exact_match": 100.0}


def test_a_metric_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MissingExtraError) as caught:
        evaluate(Echo(), [example("a", "b")], metrics=["chrf", "rougeL"])
    assert str(caught.value) == (
        "ROUGE needs the optional dependencies of attuner[rouge].\n"
        'Install them with: pip install "attuner[rouge]"'
    )
