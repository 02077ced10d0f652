"""Bootstrap intervals (Efron 1979, percentile method), over all resamples at once.

A resample of N examples is told by how often each was drawn: a row of N counts. Metrics that are
sums over examples are then products with a matrix of such rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 1000
SEED = 12345
# Counts that are held at a time.
_MAX_COUNTS = 4_000_000


def resamples(num_examples: int, *, num: int = NUM_RESAMPLES, seed: int = SEED) -> Iterator[Counts]:
    """How often each example was drawn, (R, N), in blocks that add up to `num` rows.

    The same numbers and seed give the same draws: two models scored on the same examples are
    compared draw by draw.
    """
    random = np.random.default_rng(seed)
    size = max(1, _MAX_COUNTS // num_examples)
    shares = np.full(num_examples, 1 / num_examples)
    for start in range(0, num, size):
        drawn = random.multinomial(num_examples, shares, size=min(size, num - start))
        yield drawn.astype(np.float64)


def interval(values: Floats, *, confidence: float = 0.95) -> tuple[float, float]:
    """The range that holds the middle of the resampled values; resamples without a value aside.

    >>> interval(np.arange(101.0), confidence=0.5)
    (25.0, 75.0)
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    edge = 50 * (1 - confidence)
    low, high = np.percentile(known, [edge, 100 - edge])
    return float(low), float(high)


def resampled(
    metric: Callable[[Counts], Floats],
    num_examples: int,
    *,
    num: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> Floats:
    """A metric of each resample, (num,).

    Args:
        metric: Takes counts (R, N), gives values (R,).
        num_examples: N.
        num: Number of resamples.
        seed: Seed of the draws.
    """
    return np.concatenate([metric(c) for c in resamples(num_examples, num=num, seed=seed)])


def sums_by_class(counts: Counts, classes: npt.NDArray[np.int64], num_classes: int) -> Floats:
    """Sum of the counts over the examples of each class: (R, N), (N,) → (R, C).

    >>> sums_by_class(np.array([[1.0, 2.0, 4.0]]), np.array([2, 0, 2]), 3).tolist()
    [[2.0, 0.0, 5.0]]
    """
    order = np.argsort(classes, kind="stable")
    found, starts = np.unique(classes[order], return_index=True)
    sums = np.zeros((len(counts), num_classes))
    if len(found):
        sums[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums
