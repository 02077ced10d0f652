"""Metrics by the names and with the results that courses print."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attuner
from attuner.errors import DataError, UsageError

REFERENCE = [
    "This plugin allows you to automatically translate web pages between several languages."
]


# The three worked examples of the Hugging Face course, chapter 7, on translation.
@pytest.mark.parametrize(
    ("prediction", "score", "lengths"),
    [
        (
            "This plugin lets you translate web pages between several languages automatically.",
            46.750469682990165, (12, 13),
        ),
        ("This This This This", 1.683602693167689, (4, 13)),
        ("This plugin", 0.0, (2, 13)),
    ],
)  # fmt: skip
def test_worked_examples(prediction: str, score: float, lengths: tuple[int, int]) -> None:
    found = attuner.metric("sacrebleu").compute(predictions=[prediction], references=[REFERENCE])
    assert list(found) == [
        "score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len"
    ]  # fmt: skip
    assert found["score"] == pytest.approx(score, abs=1e-9)
    assert (found["sys_len"], found["ref_len"]) == lengths


def test_first_worked_example_in_full() -> None:
    found = attuner.metric("sacrebleu").compute(
        predictions=[
            "This plugin lets you translate web pages between several languages automatically."
        ],
        references=[REFERENCE],
    )
    assert found["counts"] == [11, 6, 4, 3]
    assert found["totals"] == [12, 11, 10, 9]
    assert found["precisions"] == pytest.approx([91.6667, 54.5455, 40.0, 33.3333], abs=1e-4)
    assert found["bp"] == pytest.approx(0.9200444146293233)


# By hand: of 1, 1, 0, 1 against 1, 0, 0, 1 three are right; 2 of 3 positives are, and both found.
@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_labels_in_lists_arrays_and_tensors(make: Any) -> None:
    metric = attuner.metric("glue/mrpc")
    metric.add_batch(predictions=make([1, 1]), references=make([1, 0]))
    metric.add_batch(predictions=make([0]), references=make([0]))
    metric.add(prediction=1, reference=1)
    assert metric.compute() == {"accuracy": 0.75, "f1": pytest.approx(0.8)}
    assert metric.compute(predictions=[1], references=[1]) == {"accuracy": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    ("name", "options", "result"),
    [
        ("accuracy", {}, {"accuracy": 2 / 3}),
        ("f1", {"average": "macro"}, {"f1": pytest.approx((2 / 3 + 2 / 3) / 2)}),
        ("f1", {"average": None}, {"f1": pytest.approx([2 / 3, 2 / 3])}),
        ("precision", {}, {"precision": 1.0}),
        ("recall", {}, {"recall": 0.5}),
        ("glue/cola", {}, {"matthews_correlation": pytest.approx(0.5)}),
    ],
)
def test_options(name: str, options: dict[str, Any], result: dict[str, Any]) -> None:
    given = {"predictions": [0, 0, 1], "references": [0, 1, 1]}
    assert attuner.metric(name).compute(**given, **options) == result


def test_chrf_and_several_references() -> None:
    given = {"predictions": ["the cat"], "references": [["the dog", "the cat"]]}
    found = attuner.metric("chrf").compute(**given)
    assert found == {"score": 100.0, "char_order": 6, "word_order": 0, "beta": 2}
    assert attuner.metric("chrf").compute(**given, word_order=2)["word_order"] == 2


def test_unknown_name() -> None:
    with pytest.raises(UsageError) as found:
        attuner.metric("sacreblue")
    assert str(found.value).startswith(
        'There is no metric "sacreblue".\nDid you mean "sacrebleu"? Known: accuracy, chrf, f1, '
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            "accuracy has no predictions to score.\nExpected at least one example.\n"
            "Give predictions= and references=, or call add_batch before.",
        ),
        (
            {"predictions": [1, 2], "references": [1]},
            "accuracy was given 2 predictions and 1 references.\n"
            "Each prediction has one reference, or one list of references.\n"
            "Give both of the same examples, in the same order.",
        ),
    ],
)
def test_what_cannot_be_scored(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as found:
        attuner.metric("accuracy").compute(**given)
    assert str(found.value) == message


def test_ragged_references() -> None:
    with pytest.raises(DataError) as found:
        attuner.metric("sacrebleu").compute(predictions=["a", "b"], references=[["a", "c"], ["b"]])
    assert str(found.value) == (
        "Examples have different numbers of references.\n"
        "sacrebleu's corpus scores compare as many references of each example.\n"
        "Give each example the same number of references."
    )
