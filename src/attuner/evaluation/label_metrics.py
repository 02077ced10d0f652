"""Metrics of labels and ratings: values by scikit-learn, resamples for intervals all at once.

A new metric is a function of an `Outcome` for its value, one of an outcome and counts for its
resamples, and a line in `METRICS`. Shares and correlations go from 0 (or -100) to 100, as GLUE
reports them; an error is in the rating's unit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attuner.data.labels import Kind
from attuner.evaluation.bootstrap import Counts, Floats, sums_by_class

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model said, and what was true.

    Attributes:
        predictions: `single`: classes (N,) int64. `multi`: 0 or 1 (N, C). `rating`: (N,).
        targets: The same of what is true.
        probabilities: (N, C); of ratings, none.
        num_labels: C; 0 for ratings.
    """

    predictions: Array
    targets: Array
    probabilities: Array
    num_labels: int

    @property
    def classes(self) -> list[int]:
        """The labels as scikit-learn numbers them: of a single column, 1 is the label, 0 none."""
        return [1] if self.targets.shape[1:] == (1,) else list(range(self.num_labels))


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that says how good predictions are.

    Attributes:
        value: The metric of all examples.
        resampled: The metric of each resample: counts (R, N) → (R,); NaN where it has none.
        higher_is_better: False for errors.
        only_binary: Whether it is of two labels, the second being the positive one.
    """

    value: Callable[[Outcome], float]
    resampled: Callable[[Outcome, Counts], Floats]
    higher_is_better: bool = True
    only_binary: bool = False


def _sklearn(name: str, **options: Any) -> Callable[[Outcome], float]:
    """A function of `sklearn.metrics`, times 100."""

    def value(outcome: Outcome) -> float:
        from sklearn import metrics

        with warnings.catch_warnings():  # that only one label occurs is seen in the table of labels
            warnings.simplefilter("ignore", UserWarning)
            found = getattr(metrics, name)(outcome.targets, outcome.predictions, **options)
        return 100 * float(found)

    return value


def _f1(average: str) -> Callable[[Outcome], float]:
    """scikit-learn's F1; a label that is neither given nor true counts 0, as there."""

    def value(outcome: Outcome) -> float:
        labels = None if average == "binary" else outcome.classes
        return _sklearn("f1_score", average=average, labels=labels, zero_division=0)(outcome)

    return value


def _mean_average_precision(outcome: Outcome) -> float:
    """Mean over the labels that occur of scikit-learn's average precision."""
    from sklearn.metrics import average_precision_score

    columns = np.flatnonzero(outcome.targets.any(0))
    if not len(columns):
        return float("nan")
    return 100 * float(
        average_precision_score(outcome.targets[:, columns], outcome.probabilities[:, columns])
    )


def _accuracy(outcome: Outcome, counts: Counts) -> Floats:
    is_right = _is_right(outcome)
    return _ratio(100 * (counts @ is_right), counts.sum(1))


def _is_right(outcome: Outcome) -> Floats:
    same = outcome.predictions == outcome.targets
    is_right: Floats = (same if same.ndim == 1 else same.all(1)).astype(np.float64)
    return is_right


@dataclass(frozen=True, slots=True)
class _Tally:
    """Of each resample and label, (R, C): examples given it rightly, given it, and that have it."""

    right: Floats
    given: Floats
    true: Floats


def _tally(outcome: Outcome, counts: Counts) -> _Tally:
    given, true, num = outcome.predictions, outcome.targets, outcome.num_labels
    if given.ndim == 2:
        return _Tally(counts @ (given * true), counts @ given, counts @ true)
    return _Tally(
        sums_by_class(counts * (given == true), true, num),
        sums_by_class(counts, given, num),
        sums_by_class(counts, true, num),
    )


def _macro_f1(outcome: Outcome, counts: Counts) -> Floats:
    tally = _tally(outcome, counts)
    each = _ratio(2 * tally.right, tally.given + tally.true, empty=0)
    return np.asarray(100 * each.mean(1))


def _micro_f1(outcome: Outcome, counts: Counts) -> Floats:
    tally = _tally(outcome, counts)
    both: Floats = tally.given.sum(1) + tally.true.sum(1)
    return 100 * _ratio(2 * tally.right.sum(1), both, empty=0)


def _binary_f1(outcome: Outcome, counts: Counts) -> Floats:
    tally = _tally(outcome, counts)
    return 100 * _ratio(2 * tally.right[:, 1], tally.given[:, 1] + tally.true[:, 1], empty=0)


def _mcc(outcome: Outcome, counts: Counts) -> Floats:
    """Matthews' correlation for any number of classes (Gorodkin 2004, as scikit-learn has it)."""
    tally, num = _tally(outcome, counts), counts.sum(1)
    above = tally.right.sum(1) * num - (tally.given * tally.true).sum(1)
    below = (num**2 - (tally.given**2).sum(1)) * (num**2 - (tally.true**2).sum(1))
    return 100 * _ratio(above, np.sqrt(below), empty=0)


def _resampled_average_precision(outcome: Outcome, counts: Counts) -> Floats:
    """Mean over the labels that occur in a resample of their average precision."""
    columns = [
        _average_precision(outcome.targets[:, label], outcome.probabilities[:, label], counts)
        for label in range(outcome.num_labels)
    ]
    found = np.stack(columns, 1)
    occurs = ~np.isnan(found)
    return 100 * _ratio(np.where(occurs, found, 0).sum(1), occurs.sum(1))


def _average_precision(targets: Array, probabilities: Array, counts: Counts) -> Floats:
    """Σ precision at each true example / their number; equal probabilities are one threshold."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = counts[:, order]
    is_last = np.append(np.diff(probabilities[order]) != 0, True)
    last = np.flatnonzero(is_last)[np.searchsorted(np.flatnonzero(is_last), np.arange(len(order)))]
    true = ranked * targets[order]
    precision = _ratio(true.cumsum(1), ranked.cumsum(1), empty=0)[:, last]
    return _ratio((true * precision).sum(1), true.sum(1))


def _pearson(outcome: Outcome, counts: Counts) -> Floats:
    return _correlation(outcome.predictions[None], outcome.targets[None], counts)


def _spearman(outcome: Outcome, counts: Counts) -> Floats:
    return _correlation(
        _ranks(outcome.predictions, counts), _ranks(outcome.targets, counts), counts
    )


def _correlation(x: Floats, y: Floats, counts: Counts) -> Floats:
    """Pearson's correlation in each resample, of values (1, N) or (R, N)."""
    num = counts.sum(1, keepdims=True)
    x = x - (counts * x).sum(1, keepdims=True) / num
    y = y - (counts * y).sum(1, keepdims=True) / num
    spread = (counts * x * x).sum(1) * (counts * y * y).sum(1)
    return 100 * _ratio((counts * x * y).sum(1), np.sqrt(spread))


def _ranks(values: Array, counts: Counts) -> Floats:
    """Mean ranks of the values in each resample, (R, N); equal values share theirs."""
    distinct, which = np.unique(values, return_inverse=True)
    sizes = sums_by_class(counts, which, len(distinct))
    ranks: Floats = sizes.cumsum(1) - (sizes - 1) / 2
    return ranks[:, which]


def _correlation_value(name: str) -> Callable[[Outcome], float]:
    def value(outcome: Outcome) -> float:
        from scipy import stats

        if np.ptp(outcome.predictions) == 0 or np.ptp(outcome.targets) == 0:
            return float("nan")  # a constant correlates with nothing
        return 100 * float(getattr(stats, name)(outcome.predictions, outcome.targets).statistic)

    return value


def _mean_absolute_error(outcome: Outcome) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(outcome.targets, outcome.predictions))


def _resampled_error(outcome: Outcome, counts: Counts) -> Floats:
    errors = np.abs(outcome.predictions - outcome.targets).astype(np.float64)
    return _ratio(counts @ errors, counts.sum(1))


def _ratio(above: Floats, below: Floats, *, empty: float = float("nan")) -> Floats:
    """`above / below`, and `empty` where there is nothing below."""
    found = np.full(np.broadcast_shapes(above.shape, below.shape), empty, np.float64)
    np.divide(above, below, out=found, where=below != 0)
    return found


_MACRO, _MICRO = Metric(_f1("macro"), _macro_f1), Metric(_f1("micro"), _micro_f1)
METRICS: dict[Kind, dict[str, Metric]] = {
    "single": {
        "accuracy": Metric(_sklearn("accuracy_score"), _accuracy),
        "f1": Metric(_f1("binary"), _binary_f1, only_binary=True),
        "macro_f1": _MACRO,
        "micro_f1": _MICRO,
        "mcc": Metric(_sklearn("matthews_corrcoef"), _mcc),
    },
    "multi": {
        "micro_f1": _MICRO,
        "macro_f1": _MACRO,
        "map": Metric(_mean_average_precision, _resampled_average_precision),
        "accuracy": Metric(_sklearn("accuracy_score"), _accuracy),
    },
    "rating": {
        "pearson": Metric(_correlation_value("pearsonr"), _pearson),
        "spearman": Metric(_correlation_value("spearmanr"), _spearman),
        "mae": Metric(_mean_absolute_error, _resampled_error, higher_is_better=False),
    },
}
