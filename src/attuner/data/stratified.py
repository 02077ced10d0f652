"""Divide groups so that each part has its share of every label.

As in `splitting`, groups are ranked by a hash of the seed and their key within each label, so that
the division depends neither on the order of the rows nor, but for a few groups at the borders, on
rows added later.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from attuner.data.labels import Label
from attuner.data.splitting import Rows, rank, too_few_groups, wanted_sizes

# Ratings are divided into so many ranges with equally many examples.
_NUM_RANGES = 10


def strata_of(labels: Sequence[Label]) -> list[str]:
    r"""For each label, what every part is to have its share of.

    That is the label itself, the very combination of several labels, or a range of ratings.

    >>> strata_of(["a", "b"]), strata_of([("x", "y"), ()])
    (['a', 'b'], ['x\x00y', ''])
    """
    if labels and isinstance(labels[0], float):
        ratings = np.array(labels, np.float64)
        edges = np.quantile(ratings, np.linspace(0, 1, _NUM_RANGES + 1)[1:-1])
        return [str(place) for place in np.searchsorted(edges, ratings).tolist()]
    return [label if isinstance(label, str) else "\0".join(sorted(label)) for label in labels]  # type: ignore[arg-type]


def split_stratified(
    keys: Sequence[str],
    strata: Sequence[str],
    *,
    by: str,
    validation: float,
    test: float,
    seed: int,
) -> Rows:
    """Divide rows so that rows with one key stay together and every part has its share of strata.

    Args:
        keys: Group of each row.
        strata: Stratum of each row; a group belongs to that of most of its rows.
        by: What the keys are, for error messages: a key of `splitting.GROUPS`.
        validation: Share (below 1) or number of rows; 0 for none.
        test: Share (below 1) or number of rows; 0 for none.
        seed: Seed of the division.

    Returns:
        Row numbers in rising order; no part is empty that was asked for, and training has at
        least one group of each stratum.

    Raises:
        DataError: The rows or groups are too few.
    """
    sizes = Counter(keys)
    wanted = wanted_sizes(len(keys), validation=validation, test=test)
    groups = _groups_of_strata(keys, strata, seed)
    part_of: dict[str, str] = {}
    rows_of = {stratum: sum(sizes[key] for key in ranked) for stratum, ranked in groups.items()}
    # Test from the front and validation from the back: neither's border moves the other's.
    for part, step in (("test", 1), ("validation", -1)):
        if part not in wanted:
            continue
        for stratum, quota in _quotas(rows_of, wanted[part], seed).items():
            free = [key for key in groups[stratum][::step] if key not in part_of]
            for key in free[: len(free) - 1]:
                if quota < sizes[key] / 2:
                    break
                part_of[key] = part
                quota -= sizes[key]
    if set(part_of.values()) != set(wanted):
        raise too_few_groups(len(sizes), by, ["train", *wanted])
    rows = Rows([], [], [])
    for row, key in enumerate(keys):
        getattr(rows, part_of.get(key, "train")).append(row)
    return rows


def _groups_of_strata(
    keys: Sequence[str], strata: Sequence[str], seed: int
) -> dict[str, list[str]]:
    """The groups of each stratum, ranked."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, stratum in zip(keys, strata, strict=True):
        counts[key][stratum] += 1
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(counts, key=lambda key: rank(key, seed)):
        most = max(counts[key].values())
        groups[min(s for s, n in counts[key].items() if n == most)].append(key)
    return groups


def _quotas(sizes: Mapping[str, int], wanted: int, seed: int) -> dict[str, int]:
    """Rows that each stratum gives, `wanted` in all, by largest remainders (Hamilton)."""
    total = sum(sizes.values())
    exact = {stratum: wanted * size / total for stratum, size in sizes.items()}
    quotas = {stratum: math.floor(share) for stratum, share in exact.items()}
    missing = wanted - sum(quotas.values())
    by_rest = sorted(exact, key=lambda s: (quotas[s] - exact[s], rank(s, seed)))
    for stratum in by_rest[:missing]:
        quotas[stratum] += 1
    return quotas
