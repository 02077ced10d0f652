"""Divide rows into training, validation and test; all pure functions of their arguments.

Groups are ranked by a hash of the seed and their key, not shuffled: the division depends
neither on the order of the rows nor, but for a few groups at the borders, on rows added later.
A catalog that grows keeps its test strings out of the next training.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attuner.data.examples import places_of, texts_of
from attuner.data.features import Flags, Ints
from attuner.data.hashes import hash_of
from attuner.data.units import Example
from attuner.errors import DataError

Ranks = npt.NDArray[np.uint64]

# What stays together, in the plural of the user's words.
GROUPS = {"source": "different source texts", "catalog": "catalogs", "file": "files"}

# `&File` (Qt, KDE), `E_xit` (GTK), and `(&F)` as appended in scripts without Latin letters.
_ACCELERATOR = re.compile(r"\s*\([&_]\w\)|[&_](?=\w)")


@dataclass(frozen=True, slots=True)
class Rows:
    """Row numbers of each part, counted from 0."""

    train: Ints
    validation: Ints
    test: Ints


def normalised(text: str) -> str:
    """The text as it counts for "the same source": a person would translate both alike.

    Unicode NFKC, case folded, white space folded, accelerators removed, and without the full
    stops, ellipsis or colons at its end.

    >>> normalised("&Save  As…"), normalised("save as:")
    ('save as', 'save as')
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "&" in text or "_" in text:
        text = _ACCELERATOR.sub("", text)
    text = " ".join(text.casefold().split())
    return text.rstrip(" .:") or text


def group_keys(examples: Iterable[Example], by: str) -> Iterator[str]:
    """For each example, the name of the group that it must stay with."""
    if by == "source":
        return (normalised(source) for source, _ in texts_of(examples))
    return group_names(places_of(examples), by)


def group_names(places: Iterable[tuple[str, str]], by: str) -> Iterator[str]:
    """For each file and catalog, the one that `by` says; memory grows with different ones only."""
    known: dict[str, int] = {}
    numbers = np.fromiter(
        (
            known.setdefault(catalog or file if by == "catalog" else file, len(known))
            for file, catalog in places
        ),
        np.int64,
    )
    names = list(known)
    # Where the data lie must not change the division: the folder that all share is left out.
    shared = os.path.commonprefix(names)  # noqa: RUF071 (cut at the last slash below)
    short = [name[shared.rfind("/") + 1 :] for name in names]
    return (short[number] for number in numbers)


def split_groups(
    keys: Iterable[str], *, by: str, validation: float, test: float, seed: int
) -> Rows:
    """Divide rows so that rows with one key stay together.

    Args:
        keys: Group of each row.
        by: What the keys are, for error messages: a key of `GROUPS`.
        validation: Share (below 1) or number of rows; 0 for none.
        test: Share (below 1) or number of rows; 0 for none.
        seed: Seed of the division.

    Returns:
        Row numbers in rising order; the sizes are as near to the wanted ones as the groups
        allow, and no part is empty that was asked for.

    Raises:
        DataError: The rows or groups are too few.
    """
    # Groups in the order of their ranks, and the place of each row's group among them.
    groups, group_of, sizes = np.unique(
        ranks_of(keys, seed), return_inverse=True, return_counts=True
    )
    wanted = wanted_sizes(len(group_of), validation=validation, test=test)
    parts = ["train", *wanted]
    if len(groups) < len(parts):
        raise too_few_groups(len(groups), by, parts)
    # Test from the front and validation from the back: neither's border moves the other's.
    part_of = np.zeros(len(groups), np.int8)
    for number, (part, order) in enumerate((("test", 1), ("validation", -1)), start=1):
        if part in wanted:
            free = np.flatnonzero(part_of == 0)[::order]
            spare = 1 + ("validation" in wanted and part == "test")  # groups for other parts
            chosen = _fill(sizes[free], wanted[part], at_most=len(free) - spare)
            part_of[free[chosen]] = number
    part_of_row = part_of[group_of]
    train, test_rows, validation_rows = (np.flatnonzero(part_of_row == n) for n in range(3))
    return Rows(train, validation_rows, test_rows)


def split_random(
    num_rows: int, *, train_size: float | None, validation: float, test: float, seed: int
) -> Rows:
    """Divide rows exactly as `datasets.Dataset.train_test_split(seed=seed)` does.

    With `train_size`, training gets the rows of `train_test_split(train_size=...)` and
    validation those of its "test" part. Without it, the rows are those of
    `train_test_split(test_size=test + validation)` with counts, the held-out part cut in two,
    test first. Order is that of `datasets`, too: a later subset depends on it.

    Raises:
        DataError: The rows are too few.
    """
    if train_size is not None:
        num_train = math.floor(train_size * num_rows) if train_size < 1 else int(train_size)
        if not 0 < num_train < num_rows:
            raise DataError(
                f"data.split.train_size={train_size:g} of {num_rows:,} rows are {num_train:,} "
                "for training: nothing is left for the other part.",
                "Training and validation both need at least one row.",
                "Choose another data.split.train_size, such as 0.9.",
            )
        num_test, num_validation = 0, num_rows - num_train
    else:
        wanted = wanted_sizes(num_rows, validation=validation, test=test)
        num_test, num_validation = wanted.get("test", 0), wanted.get("validation", 0)
    order = np.random.default_rng(seed).permutation(num_rows)
    held_out = num_test + num_validation
    return Rows(train=order[held_out:], validation=order[num_test:held_out], test=order[:num_test])


def subset_rows(num_rows: int, *, n: int, seed: int) -> Ints:
    """Row numbers of `dataset.shuffle(seed=seed).select(range(n))`; all where `n` is larger."""
    return np.random.default_rng(seed).permutation(num_rows)[:n]


def wanted_sizes(num_rows: int, **sizes: float) -> dict[str, int]:
    """Rows wanted for each part of which any are wanted."""
    wanted = {
        part: max(1, math.ceil(size * num_rows)) if size < 1 else int(size)
        for part, size in sizes.items()
        if size > 0
    }
    if sum(wanted.values()) >= num_rows:
        asked = " and ".join(f"{n:,} for {part}" for part, n in wanted.items())
        options = " ".join(f"data.split.{part}=..." for part in wanted)
        raise DataError(
            f"{num_rows:,} examples cannot be split: {asked} leave none for training.",
            "Every part needs at least one example.",
            f"Give more data, or make the held-out parts smaller: {options}",
        )
    return wanted


def rank(key: str, seed: int) -> int:
    """A number that tells groups apart by chance: a hash of the seed and their key."""
    return hash_of(f"{seed} {key}")


def ranks_of(keys: Iterable[str], seed: int) -> Ranks:
    """The rank of each key."""
    return np.fromiter((rank(key, seed) for key in keys), np.uint64)


def _fill(sizes: Ints, wanted: int, *, at_most: int) -> Flags:
    """Which groups from the front have sizes that add up to `wanted` as nearly as they can."""
    chosen = np.zeros(len(sizes), bool)
    missing, num = wanted, 0
    for place, size in enumerate(sizes.tolist()):
        if missing == 0 or num == at_most:
            break
        if size <= missing:
            chosen[place] = True
            missing -= size
            num += 1
    # One group too many, where that is nearer than one too few.
    smallest = int(np.where(chosen, sizes.max() + 1, sizes).argmin())
    if not num or (sizes[smallest] < 2 * missing and num < at_most):
        chosen[smallest] = True
    return chosen


def too_few_groups(num_groups: int, by: str, parts: list[str]) -> DataError:
    """The error where there are fewer groups than parts to fill."""
    names = f"{', '.join(parts[:-1])} and {parts[-1]}"
    noun = GROUPS[by] if num_groups != 1 else GROUPS[by].removesuffix("s")
    if by == "source":
        remedy = "Give more data, or hold out less: data.split.validation=0 or data.split.test=0"
    else:
        remedy = "Split by source text instead: data.split.by=source"
    return DataError(
        f"{num_groups:,} {noun} cannot be split into {names}.",
        f"data.split.by={by} keeps each {GROUPS[by].removesuffix('s')} in one part, so it needs "
        f"at least {len(parts)}.",
        remedy,
    )
