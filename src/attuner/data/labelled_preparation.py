"""From labelled examples as read to those of training, validation and test.

Nothing disappears uncounted: the numbers of examples read equal those skipped, by reason, plus
those in the three parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from attuner.data.hashes import HashSet, hash_of
from attuner.data.labelled import LabelledExample
from attuner.data.labels import Label, names_in
from attuner.data.parts import PARTS, Parts, counted, merged, split_sizes, subset_of, without_leaks
from attuner.data.splitting import group_names, normalised, split_random
from attuner.data.stored import Packing, Record, Stored
from attuner.data.stratified import split_stratified, strata_of
from attuner.data.units import ADDRESS, Address
from attuner.errors import DataError

_LEAK = "text also in validation or test"


def _example(record: Record, weight: float) -> LabelledExample:
    text, text_pair, label, *address = record
    return LabelledExample(text, text_pair, label, Address(*address), weight)


LABELLED: Packing[LabelledExample] = Packing(
    attrgetter("text", "text_pair", "label", *ADDRESS), _example, attrgetter("weight")
)


@dataclass(frozen=True)
class PreparedLabels(Parts[LabelledExample]):
    """Labelled examples of each part, and what became of the others; see `Parts`.

    `counts` has the `labels` of training, too.

    Attributes:
        classes: Names of all labels, where the data set declares them.
    """

    classes: tuple[str, ...] = ()


def prepare_labelled(
    train: Iterable[LabelledExample],
    validation: Iterable[LabelledExample] | None = None,
    test: Iterable[LabelledExample] | None = None,
    *,
    by: str = "source",
    validation_size: float = 0.1,
    test_size: float = 0.1,
    train_size: float | None = None,
    seed: int = 20,
    duplicates: str = "skip",
    train_subset: tuple[int, int] | None = None,
    evaluation_subset: tuple[int, int] | None = None,
    skipped: Counter[str] | None = None,
) -> PreparedLabels:
    """Divide examples into parts, and count all that is left out.

    Args:
        train: Examples to learn from.
        validation: Examples to make choices on; split off `train` where None.
        test: Examples for the final scores; split off `train` where None.
        by: What stays together: "source" (the same texts), "catalog", "file", each with every
            part's share of all labels; or "random": the rows of `datasets.train_test_split`.
        validation_size: Share (below 1) or number of examples; 0 for none.
        test_size: Share (below 1) or number of examples; 0 for none.
        train_size: With `by="random"`: share or number of training rows.
        seed: Seed of the division.
        duplicates: "skip" or "keep" texts that occurred before, with the same label, in the part.
        train_subset: Number and seed: the rows of `dataset.shuffle(seed).select(range(n))`.
        evaluation_subset: The same for validation and for test.
        skipped: What reading has already skipped, by reason. Read last, for examples are read
            lazily; not changed.

    Raises:
        DataError: Nothing is left of a part, or there is too little to divide.
    """
    given = {"train": train, "validation": validation, "test": test}
    sizes = split_sizes(given, validation=validation_size, test=test_size)
    subsets = {"train": train_subset, "validation": evaluation_subset, "test": evaluation_subset}
    read: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    units: dict[str, Iterable[LabelledExample]] = {
        part: counted(examples, read) for part, examples in given.items() if examples is not None
    }
    if by == "random":  # as read, so that the rows are those of `datasets`
        as_read = {part: Stored.of(rows, LABELLED) for part, rows in units.items()}
        units |= _split(as_read, by, train_size, sizes, seed)
    parts = {
        part: Stored.of(_distinct(rows, duplicates, left_out), LABELLED)
        for part, rows in units.items()
    }
    _refuse_empty(parts, Counter(skipped or {}) + left_out)
    if by != "random":
        parts["train"] = _without_leaks(parts, left_out, notes)
        _refuse_empty(parts, Counter(skipped or {}) + left_out)
        parts = _split(parts, by, train_size, sizes, seed)
    parts = {p: subset_of(p, parts[p], subsets[p], left_out, notes) for p in parts}
    notes += _notes(parts, by)
    made = PreparedLabels.of(parts, read, Counter(skipped or {}) + left_out, notes)
    labels = Counter(name for label in labels_in(parts["train"]) for name in names_in(label))
    return replace(made, counts={**made.counts, "labels": dict(labels.most_common())})


def text_key(example: LabelledExample) -> str:
    """What examples with the same texts have in common.

    See `splitting.normalised`: case, white space and the like aside.
    """
    texts = (example.text, example.text_pair)
    return "\0".join(normalised(text) for text in texts if text is not None)


def labels_in(examples: Stored[LabelledExample]) -> list[Label]:
    """The label of each; equal ones are one object, so that millions take little room."""
    known: dict[Label, Label] = {}
    return [known.setdefault(record[2], record[2]) for record in examples.records()]


def _distinct(
    examples: Iterable[LabelledExample], duplicates: str, left_out: Counter[str]
) -> Iterator[LabelledExample]:
    seen = HashSet()
    for example in examples:
        if duplicates == "skip":
            texts = (example.text, example.text_pair)
            value = hash_of(*(t for t in texts if t is not None), repr(example.label))
            if not seen.add(value):
                left_out["duplicate"] += 1
                continue
        yield example


def _split(
    parts: dict[str, Stored[LabelledExample]],
    by: str,
    train_size: float | None,
    sizes: dict[str, float],
    seed: int,
) -> dict[str, Stored[LabelledExample]]:
    """Split validation and test off training, where their sizes are above 0."""
    pool = parts["train"]
    if not pool:
        return parts
    if train_size is not None and (by != "random" or "validation" in parts):
        raise DataError(
            f"data.split.train_size={train_size:g} was given with data.split.by={by}"
            f"{' and data.validation' if 'validation' in parts else ''}.",
            "train_size belongs to random splits, where all other rows become validation.",
            "Leave it out, or set data.split.by=random and name no validation data.",
        )
    if train_size is None and not any(sizes.values()):
        return parts
    if by == "random":
        rows = split_random(len(pool), train_size=train_size, **sizes, seed=seed)
        return merged(parts, rows)
    keys = (
        (text_key(example) for example in pool)
        if by == "source"
        else group_names(((e.address.file, e.address.catalog) for e in pool), by)
    )
    strata = strata_of(labels_in(pool))
    return merged(parts, split_stratified(keys, strata, by=by, **sizes, seed=seed))


def _hashes(examples: Iterable[LabelledExample]) -> Iterator[int]:
    return (hash_of(text_key(example)) for example in examples)


def _held_out(parts: dict[str, Stored[LabelledExample]]) -> Iterator[int]:
    """Hashes of the texts of validation and test."""
    return (value for part in PARTS[1:] if part in parts for value in _hashes(parts[part]))


def _without_leaks(
    parts: dict[str, Stored[LabelledExample]], left_out: Counter[str], notes: list[str]
) -> Stored[LabelledExample]:
    """Training examples whose texts are in no given file of validation or test."""
    train, held_out = parts["train"], HashSet(_held_out(parts))
    if not len(held_out):
        return train
    leaks = np.fromiter((value in held_out for value in _hashes(train)), bool, len(train))
    return without_leaks(train, leaks, left_out, notes, _LEAK, "text")


def _refuse_empty(parts: dict[str, Stored[LabelledExample]], reasons: Counter[str]) -> None:
    for part, examples in parts.items():
        if examples:
            continue
        listed = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
        raise DataError(
            f"No example is left for {part}."
            + (f" Left out of all data: {listed}." if listed else ""),
            "Every part needs rows that have a text and a label.",
            f"Name other files in data.{part}, or other columns: task.text=COLUMN "
            "task.label=COLUMN",
        )


def _notes(parts: dict[str, Stored[LabelledExample]], by: str) -> list[str]:
    notes = []
    if conflicts := _num_conflicts(parts["train"]):
        texts = "text of training has" if conflicts == 1 else "texts of training have"
        notes.append(f"{conflicts:,} {texts} different labels: no classifier can learn them all.")
    if by != "source" and (by_chance := _leaks(parts)):  # there, none is left
        notes.append(
            f"{by_chance:,} texts of validation or test are also in training. "
            "data.split.by=source keeps them out."
        )
    return notes


def _num_conflicts(examples: Iterable[LabelledExample]) -> int:
    """Number of texts that occur with different labels."""
    texts, labelled, conflicts = HashSet(), HashSet(), HashSet()
    for example in examples:
        key = text_key(example)
        value = hash_of(key)
        if labelled.add(hash_of(key, repr(example.label))) and not texts.add(value):
            conflicts.add(value)
    return len(conflicts)


def _leaks(parts: dict[str, Stored[LabelledExample]]) -> int:
    """Number of held-out examples whose texts are in training."""
    held_out = HashSet(_held_out(parts))
    if not len(held_out):
        return 0
    learned = HashSet(value for value in _hashes(parts["train"]) if value in held_out)
    return sum(value in learned for value in _held_out(parts))
