from __future__ import annotations

import random

import numpy as np
import pytest

from attuner.data.labels import LabelSet
from attuner.evaluation.label_metrics import METRICS, Outcome
from attuner.evaluation.metrics import METRICS as TEXT_METRICS
from attuner.evaluation.paired import Resampled, difference, resample_labels, resample_text

WORDS = [
    "the",
    "file",
    "was",
    "opened",
    "by",
    "a",
    "user",
    "who",
    "then",
    "closed",
    "all",
    "windows",
    "of",
    "it",
]


def texts(num: int, *, errors: float, seed: int) -> tuple[list[str], list[list[str]]]:
    """References, and predictions of which a share of the words is wrong."""
    draw = random.Random(7)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(num)]
    draw = random.Random(seed)
    predictions = [
        " ".join(word if draw.random() > errors else "wrong" for word in reference.split())
        for reference in references
    ]
    return predictions, [[reference] for reference in references]


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter", "token_f1"])
def test_a_resample_of_all_examples_has_the_corpus_score(metric: str) -> None:
    """The resampled scores come from counts: they must be those of the drawn texts themselves."""
    from attuner.evaluation.bootstrap import resamples

    predictions, references = texts(30, errors=0.3, seed=1)
    found = resample_text(metric, predictions, references, "en")
    counts = next(resamples(30))[:3].astype(int)
    for row, value in zip(counts, found.values, strict=False):
        drawn = np.repeat(np.arange(30), row)
        again = TEXT_METRICS[metric](
            [predictions[i] for i in drawn], [references[i] for i in drawn], "en"
        )
        assert value == pytest.approx(again.value, abs=1e-6)


def test_sacrebleu_comes_to_the_same_verdict() -> None:
    """Its paired bootstrap draws and counts otherwise: intervals' halves and verdicts agree."""
    from sacrebleu.metrics import CHRF
    from sacrebleu.significance import PairedTest

    good, references = texts(200, errors=0.20, seed=1)
    bad, _ = texts(200, errors=0.27, seed=2)
    theirs = PairedTest(
        [("bad", bad), ("good", good)],
        {"chrf": CHRF()},
        [[one for (one,) in references]],
        test_type="bs",
    )()[1]["chrF2"][1]
    base, other = (resample_text("chrf", each, references, "en") for each in (bad, good))
    found = difference(base, other)

    assert found.value == pytest.approx(theirs.score - base.value)
    assert float(other.values.mean()) == pytest.approx(theirs.mean, abs=0.2)
    assert theirs.p_value < 0.05
    assert found.p_value < 0.05
    assert found.interval[0] > 0


def test_two_models_alike_do_not_differ() -> None:
    one, references = texts(100, errors=0.2, seed=1)
    other, _ = texts(100, errors=0.2, seed=2)
    base = resample_text("chrf", one, references, "en")

    assert difference(base, base).p_value == 1
    found = difference(base, resample_text("chrf", other, references, "en"))
    assert found.p_value > 0.1
    assert found.interval[0] < 0 < found.interval[1]


def test_p_values_are_right_where_there_is_no_difference() -> None:
    """Of pairs that differ by chance alone about one in twenty has p < 0.05."""
    draw = np.random.default_rng(3)
    labels = LabelSet("single", ("a", "b"))
    significant = 0
    for _ in range(100):
        targets = draw.integers(0, 2, 80)
        pair = []
        for _ in range(2):
            said = np.where(draw.random(80) < 0.7, targets, 1 - targets)
            outcome = Outcome(said, targets, np.zeros((80, 2)), 2)
            pair.append(resample_labels("accuracy", outcome, labels))
        significant += difference(*pair).p_value < 0.05
    assert 1 <= significant <= 12


@pytest.mark.parametrize(("num", "p_value"), [(1, 1.0), (2, 0.5), (5, 0.0625), (40, 1 / 1001)])
def test_few_examples_prove_little(num: int, p_value: float) -> None:
    """All speak for one model, which as many throws of a coin do in 2 of 2^N cases."""
    labels, targets = LabelSet("single", ("a", "b")), np.zeros(num, np.int64)
    wrong, right = (
        resample_labels("accuracy", Outcome(said, targets, np.zeros((num, 2)), 2), labels)
        for said in (targets + 1, targets)
    )
    assert difference(wrong, right).p_value == pytest.approx(p_value)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
def test_labels_have_their_metrics_values(metric: str) -> None:
    targets = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    outcome = Outcome(np.array([0, 1, 0, 0, 1, 1, 0, 1]), targets, np.zeros((8, 2)), 2)
    found = resample_labels(metric, outcome, LabelSet("single", ("a", "b")))

    assert found.value == METRICS["single"][metric].value(outcome)
    assert found.values.shape == (1000,)


def test_resamples_without_a_value_are_left_aside() -> None:
    nothing = np.full(3, np.nan)
    found = difference(Resampled(1.0, nothing, 3), Resampled(2.0, nothing, 3))

    assert found.value == 1
    assert np.isnan([*found.interval, found.p_value]).all()
