"""Metrics of labels: values beside hand-computed ones, resamples beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

from attuner.data.labels import Kind, LabelSet
from attuner.evaluation.bootstrap import interval, resampled, resamples, sums_by_class
from attuner.evaluation.classification import best_threshold, outcome_of
from attuner.evaluation.label_metrics import METRICS, Outcome

NUM = 60


def outcome(kind: Kind, *, seed: int = 0, num: int = NUM, num_labels: int = 3) -> Outcome:
    random = np.random.default_rng(seed)
    labels = LabelSet(kind, tuple("abcde"[:num_labels]) if kind != "rating" else ())
    shape = (num, max(1, len(labels.names)))
    logits = np.round(random.normal(size=shape), 1)  # rounded: some are equal
    if kind == "single":
        targets = np.where(
            random.random(num) < 0.6, logits.argmax(1), random.integers(0, num_labels, num)
        )
    elif kind == "multi":
        targets = (logits + random.normal(size=shape) > 0.5).astype(np.float32)
    else:
        targets = np.round(logits[:, 0] + random.normal(size=num), 0)
    return outcome_of(logits, targets, labels)


def drawn(found: Outcome, counts: np.ndarray) -> Outcome:
    """The examples of one resample, as rows."""
    rows = np.repeat(np.arange(len(counts)), counts.astype(int))
    return Outcome(
        found.predictions[rows], found.targets[rows], found.probabilities[rows], found.num_labels
    )


@pytest.mark.parametrize(
    ("kind", "name", "num_labels"),
    [
        (kind, name, 2 if metric.only_binary else 3)
        for kind, metrics in METRICS.items()
        for name, metric in metrics.items()
    ]
    + [("multi", name, 1) for name in METRICS["multi"]],
)
def test_resamples_have_the_value_of_their_rows(kind: Kind, name: str, num_labels: int) -> None:
    metric = METRICS[kind][name]
    found = outcome(kind, num_labels=num_labels)
    (counts,) = resamples(NUM, num=20, seed=3)
    values = metric.resampled(found, np.concatenate([np.ones((1, NUM)), counts]))
    wanted = [metric.value(found), *(metric.value(drawn(found, row)) for row in counts)]
    np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=1e-9)
    assert len(set(np.round(wanted, 6))) > 5  # the resamples differ


def test_values_computed_by_hand() -> None:
    # 3 of 5 right; b: 2 given, 3 true, 2 right; a: 2 given, 1 true, 1 right; c: 1 given, 1 true, 0
    found = Outcome(
        np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2])[[0, 1, 2, 3, 4]], np.zeros((5, 3)), 3
    )
    assert METRICS["single"]["accuracy"].value(found) == pytest.approx(80)
    assert METRICS["single"]["micro_f1"].value(found) == pytest.approx(80)
    # F1: a 2/3, b 4/5, c 1
    assert METRICS["single"]["macro_f1"].value(found) == pytest.approx(100 * (2 / 3 + 0.8 + 1) / 3)
    # Gorodkin 2004: (4·5 - (2·1 + 2·3 + 1)) / sqrt((25 - 9)(25 - 11))
    assert METRICS["single"]["mcc"].value(found) == pytest.approx(100 * 11 / (16 * 14) ** 0.5)


def test_correlations_of_scipy() -> None:
    found = outcome("rating")
    spearman = stats.spearmanr(found.predictions, found.targets).statistic
    assert METRICS["rating"]["spearman"].value(found) == pytest.approx(100 * spearman)
    constant = Outcome(np.ones(4), np.arange(4.0), np.zeros((4, 0)), 0)
    assert np.isnan(METRICS["rating"]["pearson"].value(constant))


def test_a_label_that_does_not_occur() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.4]])
    found = Outcome((probabilities > 0.5).astype(int), targets, probabilities, 2)
    wanted = 100 * theirs.average_precision_score(targets[:, 0], probabilities[:, 0])
    assert METRICS["multi"]["map"].value(found) == pytest.approx(wanted)
    assert METRICS["multi"]["map"].resampled(found, np.ones((1, 3)))[0] == pytest.approx(wanted)
    # 1 given, 2 true, 1 right; the other label counts 0, as scikit-learn has it
    assert METRICS["multi"]["macro_f1"].value(found) == pytest.approx(100 * (2 / 3) / 2)


def test_intervals_are_as_wide_as_theory_says() -> None:
    """An accuracy of p has a standard error of sqrt(p(1-p)/n)."""
    is_right = np.arange(1000) < 800
    found = Outcome(is_right.astype(int), np.ones(1000, int), np.zeros((1000, 2)), 2)
    accuracy = METRICS["single"]["accuracy"].resampled
    low, high = interval(resampled(lambda counts: accuracy(found, counts), 1000))
    half = 196 * (0.8 * 0.2 / 1000) ** 0.5
    assert (low, high) == pytest.approx((80 - half, 80 + half), abs=0.3)


def test_draws_are_seeded_and_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(50, num=20, seed=1)))
    monkeypatch.setattr("attuner.evaluation.bootstrap._MAX_COUNTS", 150)
    blocks = list(resamples(50, num=20, seed=1))
    assert len(blocks) == 7
    assert np.array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(1) == 50).all()
    assert not np.array_equal(whole, np.concatenate(list(resamples(50, num=20, seed=2))))


def test_sums_of_no_examples() -> None:
    assert sums_by_class(np.zeros((2, 0)), np.zeros(0, int), 3).tolist() == [[0] * 3] * 2


def test_the_threshold_is_the_best_of_all() -> None:
    found = outcome("multi", seed=4)
    shy = found.probabilities**2  # a model that is too sure that labels do not hold
    best = best_threshold(shy, found.targets)

    def f1(threshold: float) -> float:
        given = (shy >= threshold).astype(int)
        return float(theirs.f1_score(found.targets, given, average="micro", zero_division=0))

    assert f1(best) == pytest.approx(max(map(f1, np.unique(shy))))
    assert f1(best) > f1(0.5)
    assert best_threshold(np.array([[0.3]]), np.array([[0]])) == 0.5
