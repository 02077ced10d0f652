"""The parts that data are divided into, whatever an example is: training, validation and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from attuner.data.features import Flags
from attuner.data.splitting import Rows, subset_rows
from attuner.data.stored import Stored

if TYPE_CHECKING:
    from attuner.data.labelled import LabelledExample
    from attuner.data.units import Unit

PARTS = ("train", "validation", "test")

T = TypeVar("T")
Entry = TypeVar("Entry", bound="Unit | LabelledExample")


@dataclass(frozen=True)
class Parts(Generic[T]):
    """Examples of each part, and what became of the others.

    Attributes:
        train: What is learned from.
        validation: What choices are made on; may be empty.
        test: What final scores are computed on; may be empty.
        counts: `read` by file, `skipped` by reason, `split` by part: numbers of examples.
        notes: Sentences that the user should read, such as leaks found.
    """

    train: Stored[T]
    validation: Stored[T]
    test: Stored[T]
    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        parts: Mapping[str, Stored[T]],
        read: Counter[str],
        skipped: Counter[str],
        notes: Sequence[str],
        **others: Any,
    ) -> Self:
        """What is in hand when all is divided; `parts` may lack those held out."""
        train, validation, test = (parts.get(part, parts["train"][:0]) for part in PARTS)
        if validation and not test:
            notes = [
                *notes,
                "There is no test split: scores are on validation, which choices were made on.",
            ]
        if not validation and not test:
            notes = [*notes, "Nothing is held out: there will be no scores."]
        counts = {
            "read": dict(read),
            "skipped": dict(skipped.most_common()),
            "split": {"train": len(train), "validation": len(validation), "test": len(test)},
        }
        return cls(train, validation, test, counts, tuple(notes), **others)


def split_sizes(given: Mapping[str, object], **sizes: float) -> dict[str, float]:
    """What is split off training for each part: nothing for those that are given."""
    return {part: size if given[part] is None else 0 for part, size in sizes.items()}


def counted(entries: Iterable[Entry], read: Counter[str]) -> Iterator[Entry]:
    """The entries, each counted by its file in `read`."""
    for entry in entries:
        read[entry.address.file] += 1
        yield entry


def merged(parts: dict[str, Stored[T]], rows: Rows) -> dict[str, Stored[T]]:
    """The parts, with those of `rows` cut out of training; parts nobody asked for are missing."""
    cut = {part: parts["train"].select(getattr(rows, part)) for part in PARTS}
    return parts | {part: cut[part] for part in PARTS if cut[part]}


def subset_of(
    part: str,
    rows: Stored[T],
    subset: tuple[int, int] | None,
    left_out: Counter[str],
    notes: list[str],
) -> Stored[T]:
    """The rows of a part that a subset, its number and seed, keeps; the others are counted."""
    if subset is None or not rows:
        return rows
    n, seed = subset
    if n > len(rows):
        notes.append(f"{part} has {len(rows):,} examples, fewer than its subset's n={n:,}: all.")
    left_out["not in the subset"] += max(0, len(rows) - n)
    return rows.select(subset_rows(len(rows), n=n, seed=seed))


def without_leaks(
    train: Stored[T],
    leaks: Flags,
    left_out: Counter[str],
    notes: list[str],
    reason: str,
    same: str,
) -> Stored[T]:
    """Training examples without the leaks, of which validation or test has the `same` text."""
    if dropped := int(leaks.sum()):
        left_out[reason] += dropped
        notes.append(
            f"Left out of training because validation or test has the same {same}: {dropped:,}. "
            "data.split.by=random would keep them."
        )
    return train.select(~leaks)
