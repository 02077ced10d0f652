"""Divide groups so that each part has its share of every label.

As in `splitting`, groups are ranked by a hash of the seed and their key within each label, so that
the division depends neither on the order of the rows nor, but for a few groups at the borders, on
rows added later.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from attuner.data.features import Ints
from attuner.data.labels import Label, names_in
from attuner.data.splitting import Rows, rank, ranks_of, too_few_groups, wanted_sizes

# Ratings are divided into so many ranges with equally many examples.
_NUM_RANGES = 10
# Combinations of labels that occur once; no combination is called so.
_SINGLE = "\0"


def strata_of(labels: Sequence[Label]) -> list[str]:
    r"""For each label, what every part is to have its share of.

    That is the label itself, the very combination of several labels, or a range of ratings.
    Combinations that occur once count as one, but for some that training needs to know all labels.

    >>> strata_of(["a", "b"]), strata_of([("y", "x"), ("x", "y"), (), (), ("x",), ("z",)])
    (['a', 'b'], ['x\x00y', 'x\x00y', '', '', '\x00', 'z'])
    """
    if labels and isinstance(labels[0], float):
        ratings = np.array(labels, np.float64)
        edges = np.quantile(ratings, np.linspace(0, 1, _NUM_RANGES + 1)[1:-1])
        return [str(place) for place in np.searchsorted(edges, ratings).tolist()]
    if labels and isinstance(labels[0], str):
        return [str(label) for label in labels]
    names = ["\0".join(sorted(names_in(label))) for label in labels]
    counts = Counter(names)
    recurring = [name for name, n in counts.items() if n > 1]
    learned = {label for name in recurring for label in name.split("\0")}
    kept = set(recurring)
    for name in sorted(counts.keys() - kept):
        if not learned.issuperset(name.split("\0")):
            kept.add(name)
            learned.update(name.split("\0"))
    return [name if name in kept else _SINGLE for name in names]


def split_stratified(
    keys: Iterable[str],
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
    # Groups in the order of their ranks, and the place of each row's group among them.
    groups, group_of, sizes = np.unique(
        ranks_of(keys, seed), return_inverse=True, return_counts=True
    )
    wanted = wanted_sizes(len(group_of), validation=validation, test=test)
    names = sorted(set(strata))
    stratum_of = _strata_of_groups(group_of, strata, names)
    rows_of = np.bincount(stratum_of, sizes, len(names)).astype(np.int64)
    part_of = np.zeros(len(groups), np.int8)
    # Test from the front and validation from the back: neither's border moves the other's.
    for number, (part, order) in enumerate((("test", 1), ("validation", -1)), start=1):
        if part not in wanted:
            continue
        quotas = _quotas(dict(zip(names, rows_of.tolist(), strict=True)), wanted[part], seed)
        for stratum, name in enumerate(names):
            free = np.flatnonzero((stratum_of == stratum) & (part_of == 0))[::order][:-1]
            before = sizes[free].cumsum() - sizes[free]
            is_full = quotas[name] - before < sizes[free] / 2
            end = int(is_full.argmax()) if is_full.any() else len(free)
            part_of[free[:end]] = number
    part_of_row = part_of[group_of]
    train, test_rows, validation_rows = (np.flatnonzero(part_of_row == n) for n in range(3))
    found = {"test": test_rows, "validation": validation_rows}
    if not all(len(found[part]) for part in wanted):
        raise too_few_groups(len(groups), by, ["train", *wanted])
    return Rows(train, validation_rows, test_rows)


def _strata_of_groups(group_of: Ints, strata: Sequence[str], names: Sequence[str]) -> Ints:
    """The stratum that most rows of each group have, the first by name of several such."""
    numbers = {name: number for number, name in enumerate(names)}
    of_rows = np.fromiter((numbers[stratum] for stratum in strata), np.int64, len(strata))
    pairs, counts = np.unique(group_of * len(names) + of_rows, return_counts=True)
    groups, of_pairs = np.divmod(pairs, len(names))
    order = np.lexsort((of_pairs, -counts, groups))
    is_first = np.diff(groups[order], prepend=-1) > 0
    found: Ints = of_pairs[order[is_first]]
    return found


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
