"""Divide rows into training, validation and test; all pure functions of their arguments.

Groups are ranked by a hash of the seed and their key, not shuffled: the division depends
neither on the order of the rows nor, but for a few groups at the borders, on rows added later.
A catalog that grows keeps its test strings out of the next training.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attuner.data.units import Address, Example
from attuner.errors import DataError

# What stays together, in the plural of the user's words.
GROUPS = {"source": "different source texts", "catalog": "catalogs", "file": "files"}

# `&File` (Qt, KDE), `E_xit` (GTK), and `(&F)` as appended in scripts without Latin letters.
_ACCELERATOR = re.compile(r"\s*\([&_]\w\)|[&_](?=\w)")


@dataclass(frozen=True, slots=True)
class Rows:
    """Row numbers of each part, counted from 0."""

    train: list[int]
    validation: list[int]
    test: list[int]


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


def group_keys(examples: Iterable[Example], by: str) -> list[str]:
    """For each example, the name of the group that it must stay with."""
    if by == "source":
        return [normalised(example.source) for example in examples]
    return group_names([example.address for example in examples], by)


def group_names(addresses: Sequence[Address], by: str) -> list[str]:
    """For each address, its catalog or file, whatever `by` says."""
    names = [a.catalog or a.file if by == "catalog" else a.file for a in addresses]
    # Where the data lie must not change the division: the folder that all share is left out.
    shared = os.path.commonprefix(names)  # noqa: RUF071 (cut at the last slash below)
    return [name[shared.rfind("/") + 1 :] for name in names]


def split_groups(
    keys: Sequence[str], *, by: str, validation: float, test: float, seed: int
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
    sizes = Counter(keys)
    wanted = wanted_sizes(len(keys), validation=validation, test=test)
    parts = ["train", *wanted]
    if len(sizes) < len(parts):
        raise too_few_groups(len(sizes), by, parts)
    ranked = sorted(sizes, key=lambda key: rank(key, seed))
    # Test from the front and validation from the back: neither's border moves the other's.
    part_of: dict[str, str] = {}
    for part, order in (("test", ranked), ("validation", ranked[::-1])):
        if part in wanted:
            free = [key for key in order if key not in part_of]
            spare = 1 + ("validation" in wanted and part == "test")  # groups for other parts
            for key in _fill(free, sizes, wanted[part], at_most=len(free) - spare):
                part_of[key] = part
    rows = Rows([], [], [])
    for row, key in enumerate(keys):
        getattr(rows, part_of.get(key, "train")).append(row)
    return rows


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
    import numpy as np

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
    order = np.random.default_rng(seed).permutation(num_rows).tolist()
    held_out = num_test + num_validation
    return Rows(train=order[held_out:], validation=order[num_test:held_out], test=order[:num_test])


def subset_rows(num_rows: int, *, n: int, seed: int) -> list[int]:
    """Row numbers of `dataset.shuffle(seed=seed).select(range(n))`; all where `n` is larger."""
    import numpy as np

    rows: list[int] = np.random.default_rng(seed).permutation(num_rows)[:n].tolist()
    return rows


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


def rank(key: str, seed: int) -> bytes:
    """A number that tells groups apart by chance: a hash of the seed and their key."""
    return hashlib.blake2b(f"{seed} {key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _fill(order: Sequence[str], sizes: Counter[str], wanted: int, *, at_most: int) -> list[str]:
    """Groups from the front of `order` whose sizes add up to `wanted` as nearly as they can."""
    chosen: dict[str, None] = {}
    missing = wanted
    for key in order:
        if missing == 0 or len(chosen) == at_most:
            break
        if sizes[key] <= missing:
            chosen[key] = None
            missing -= sizes[key]
    # One group too many, where that is nearer than one too few.
    smallest = min((key for key in order if key not in chosen), key=lambda key: sizes[key])
    if not chosen or (sizes[smallest] < 2 * missing and len(chosen) < at_most):
        chosen[smallest] = None
    return list(chosen)


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
