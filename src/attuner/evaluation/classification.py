"""Score what a classifier says: metrics with intervals, a table of labels, the confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from attuner.data.labels import LabelSet, predictions, probabilities
from attuner.errors import UsageError, nearest
from attuner.evaluation.bootstrap import NUM_RESAMPLES, SEED, interval, resampled
from attuner.evaluation.label_metrics import METRICS, Outcome
from attuner.evaluation.own_metrics import ScoreFunction, own_scores

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A line of the table of labels, in per cent but for the number of examples.

    Attributes:
        name: The label.
        precision: Of the texts given it, those that have it.
        recall: Of the texts that have it, those given it.
        f1: Their harmonic mean.
        num_examples: Texts that have it.
    """

    name: str
    precision: float
    recall: float
    f1: float
    num_examples: int


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How good predictions are.

    Attributes:
        scores: Value of each metric; see `label_metrics`.
        intervals: Of each, the bootstrap's 95 % interval.
        signatures: The settings behind each.
        rows: A line for each label; none for ratings.
        confusion: `single`: examples by true label (rows) and label given (columns), (C, C).
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    signatures: dict[str, str]
    rows: tuple[LabelRow, ...]
    confusion: npt.NDArray[np.int64] | None


def score_labels(
    logits: Array,
    targets: Array,
    labels: LabelSet,
    *,
    threshold: float = 0.5,
    metrics: Sequence[str] | None = None,
    functions: Sequence[ScoreFunction] = (),
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> LabelScores:
    """Score a model's outputs against what is true.

    Args:
        logits: (N, C).
        targets: As `LabelSet.encode` makes them.
        labels: The labels.
        threshold: For several labels, the probability from which on one is given.
        metrics: Names in `METRICS[labels.kind]`; all that apply where None.
        functions: Metrics of one's own, called with predictions and targets.
        num_resamples: Of the bootstrap; 0 for no intervals. Own functions get fewer.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: There is no such metric for this kind of labels.
        UserError: An own metric raised an error, or gave no numbers.
        ValueError: There is nothing to score.
    """
    if not len(targets) or len(targets) != len(logits):
        raise ValueError(f"{len(logits)} predictions, {len(targets)} targets")
    outcome = outcome_of(logits, targets, labels, threshold=threshold)
    scores, intervals, signatures = {}, {}, {}
    settings = f"n={len(targets)}|bootstrap={num_resamples}|seed={seed}"
    for name in _chosen(metrics, labels):
        metric = METRICS[labels.kind][name]
        scores[name] = metric.value(outcome)
        of = f"|positive={labels.names[1]}" if metric.only_binary else ""
        of += f"|threshold={threshold:.3g}" if labels.kind == "multi" and name != "map" else ""
        signatures[name] = f"{settings}{of}|scikit-learn={version('scikit-learn')}"
        if num_resamples:
            values = resampled(
                lambda counts, of=metric.resampled: of(outcome, counts),  # type: ignore[misc]
                len(targets),
                num=num_resamples,
                seed=seed,
            )
            intervals[name] = interval(values)
    own = own_scores(
        functions, outcome.predictions, outcome.targets, num_resamples=num_resamples, seed=seed
    )
    return LabelScores(
        scores | own.scores,
        intervals | own.intervals,
        signatures | own.signatures,
        _rows(outcome, labels),
        _confusion(outcome, labels),
    )


def outcome_of(
    logits: Array, targets: Array, labels: LabelSet, *, threshold: float = 0.5
) -> Outcome:
    """What a model's outputs (N, C) mean, beside what is true."""
    found = probabilities(logits, labels)
    return Outcome(
        predictions(logits, labels, threshold=threshold), targets, found, len(labels.names)
    )


def best_threshold(shares: Array, targets: Array) -> float:
    """The threshold with the highest micro-averaged F1, half-way to the next probability.

    0.5 where no label is true.

    Args:
        shares: Probabilities, (N, C).
        targets: 0 or 1, (N, C).

    >>> best_threshold(np.array([[0.9, 0.4], [0.2, 0.3]]), np.array([[1, 1], [0, 0]]))
    0.35
    """
    order = np.argsort(-shares, axis=None, kind="stable")
    ranked, true = shares.flatten()[order], targets.flatten()[order]
    if not true.any():
        return 0.5
    f1 = 2 * true.cumsum() / (np.arange(1, len(true) + 1) + true.sum())
    f1[:-1][np.diff(ranked) == 0] = 0  # equal probabilities are given or not together
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def require_label_metrics(metrics: Sequence[str], labels: LabelSet) -> None:
    """Make sure that labels can be scored by these metrics.

    Raises:
        UsageError: There is no such metric for this kind of labels.
    """
    known = _applicable(labels)
    for name in metrics:
        if name not in known:
            raise UsageError(f'There is no metric "{name}" for these labels.', nearest(name, known))


def _applicable(labels: LabelSet) -> list[str]:
    is_binary = len(labels.names) == 2
    return [n for n, m in METRICS[labels.kind].items() if is_binary or not m.only_binary]


def _chosen(metrics: Sequence[str] | None, labels: LabelSet) -> list[str]:
    """The metrics to compute: by default all that apply."""
    require_label_metrics(metrics or (), labels)
    return _applicable(labels) if metrics is None else list(metrics)


def _rows(outcome: Outcome, labels: LabelSet) -> tuple[LabelRow, ...]:
    if not labels.names:
        return ()
    from sklearn.metrics import precision_recall_fscore_support

    table = precision_recall_fscore_support(
        outcome.targets,
        outcome.predictions,
        labels=outcome.classes,
        zero_division=0,
    )
    return tuple(
        LabelRow(name, 100 * float(precision), 100 * float(recall), 100 * float(f1), int(num))
        for name, precision, recall, f1, num in zip(labels.names, *table, strict=True)
    )


def _confusion(outcome: Outcome, labels: LabelSet) -> npt.NDArray[np.int64] | None:
    if labels.kind != "single":
        return None
    from sklearn.metrics import confusion_matrix

    matrix: npt.NDArray[np.int64] = confusion_matrix(
        outcome.targets, outcome.predictions, labels=range(len(labels.names))
    )
    return matrix
