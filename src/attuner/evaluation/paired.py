"""Whether one model is better than another on the same examples, or only by chance.

The paired bootstrap (Koehn 2004): both are scored on the same resamples of the examples, and what
differs in each is the difference. The p-value, two-sided, is that of a difference at least as large
where there is none: resamples are shifted to a mean of zero for it (Riezler and Maxwell 2005). It
is no smaller than a randomisation test's can be (Noreen 1989): that all of N examples speak for the
same model happens by chance in 2 of 2^N cases, and resamples of few examples do not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attuner.data.labels import LabelSet
from attuner.evaluation import label_metrics
from attuner.evaluation.bootstrap import Counts, Floats, interval, resampled
from attuner.evaluation.label_metrics import Outcome
from attuner.evaluation.metric import mean_of
from attuner.evaluation.metrics import METRICS


@dataclass(frozen=True, slots=True)
class Resampled:
    """A score.

    Attributes:
        value: Of all examples.
        values: Of each resample, the same draws for any two with as many examples, (R,).
        num_examples: N.
    """

    value: float
    values: Floats
    num_examples: int


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much a score is above another.

    Attributes:
        value: The difference.
        interval: Its 95 % interval.
        p_value: How probable one as large is where there is none.
    """

    value: float
    interval: tuple[float, float]
    p_value: float


def resample_text(
    metric: str,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    target_language: str,
) -> Resampled:
    """Score texts by a metric in `METRICS`, and each resample of them.

    Raises:
        MissingExtraError: The metric's library is not installed.
    """
    found = METRICS[metric](predictions, references, target_language)
    stats = np.array(found.per_example, np.float64)  # (N, K)
    combine = METRICS[metric].combine
    # What a corpus score is made of: sums, or where every example has its own score, means.
    share = 1 / len(stats) if combine is mean_of else 1.0

    def score(counts: Counts) -> Floats:
        return np.array([combine([(share * row).tolist()]) for row in counts @ stats])

    return Resampled(found.value, resampled(score, len(stats)), len(stats))


def resample_labels(metric: str, outcome: Outcome, labels: LabelSet) -> Resampled:
    """Score labels by a metric in `label_metrics.METRICS`, and each resample of them."""
    how = label_metrics.METRICS[labels.kind][metric]
    values = resampled(lambda counts: how.resampled(outcome, counts), len(outcome.targets))
    return Resampled(how.value(outcome), values, len(outcome.targets))


def difference(base: Resampled, other: Resampled) -> Difference:
    """How far `other` is above `base`.

    >>> base = Resampled(1.0, np.array([1.0, 2.0, 0.0]), 40)
    >>> difference(base, Resampled(3.0, np.array([3.0, 4.0, 2.0]), 40))
    Difference(value=2.0, interval=(2.0, 2.0), p_value=0.25)
    """
    value = other.value - base.value
    drawn = other.values - base.values
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Difference(value, (float("nan"), float("nan")), float("nan"))
    shifted = np.abs(drawn - drawn.mean())
    as_large = int((shifted >= abs(value)).sum()) if value else len(drawn)
    p_value = max((as_large + 1) / (len(drawn) + 1), 2.0 ** (1 - base.num_examples))
    return Difference(value, interval(drawn), p_value)
