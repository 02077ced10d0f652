"""Which labels a task has, and that the held-out examples have no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np

from attuner.data.labelled import LabelledExample
from attuner.data.labelled_preparation import LABELLED, PreparedLabels, labels_in
from attuner.data.labels import (
    Kind,
    Label,
    LabelSet,
    find_labels,
    names_in,
    numbered_labels,
    require_known,
)
from attuner.data.parts import PARTS
from attuner.data.stored import Stored

_UNKNOWN = "label not in training"


def with_labels(
    prepared: PreparedLabels,
    kind: Kind,
    *,
    given: Sequence[str] = (),
    known: Sequence[str] = (),
    unknown: Literal["fail", "skip"] = "fail",
) -> tuple[PreparedLabels, LabelSet]:
    """Examples whose labels are all of one set, and the set.

    Args:
        prepared: The examples.
        kind: `single`, `multi` or `rating`.
        given: All labels, in the order wanted; numbers in the data count them.
        known: Those of the checkpoint, whose order is kept where they are the same.
        unknown: Whether held-out examples with other labels than those of training are refused, or
            left out and counted.

    Raises:
        DataError: There is only one label, or there are others than those given or learned.
    """
    read = {part: labels_in(getattr(prepared, part)) for part in PARTS}
    numbered = iter(numbered_labels([label for part in PARTS for label in read[part]], given))
    labels = {part: list(islice(numbered, len(read[part]))) for part in PARTS}
    parts = {
        part: _relabelled(getattr(prepared, part), labels[part], is_same=labels[part] == read[part])
        for part in PARTS
    }
    label_set = find_labels(
        labels["train"], kind, given=given, known=known, declared=prepared.classes
    )
    names = frozenset(label_set.names)
    skipped = 0
    for part in PARTS[1:]:
        fits = np.fromiter(
            (kind == "rating" or names.issuperset(names_in(label)) for label in labels[part]), bool
        )
        if unknown == "fail" and not fits.all():
            require_known(
                labels[part],
                label_set.names,
                where=part,
                remedy="Nothing can be learned of a label without training examples: mend it, name "
                "all labels in task.labels, or set data.bad_entries=skip to leave such examples "
                "out, counted.",
            )
        skipped += int((~fits).sum())
        parts[part] = parts[part].select(fits)
    counts = {**prepared.counts, "split": {part: len(parts[part]) for part in PARTS}}
    if skipped:
        counts["skipped"] = {**counts["skipped"], _UNKNOWN: skipped}
    counts["labels"] = count_labels(labels["train"], label_set.names)
    if kind == "rating":
        del counts["labels"]
    learned, validated, tested = (parts[part] for part in PARTS)
    made = replace(prepared, train=learned, validation=validated, test=tested, counts=counts)
    return made, label_set


def _relabelled(
    examples: Stored[LabelledExample], labels: Sequence[Label], *, is_same: bool
) -> Stored[LabelledExample]:
    """The examples with these labels."""
    if is_same:
        return examples
    pairs = zip(examples, labels, strict=True)
    return Stored.of((replace(example, label=label) for example, label in pairs), LABELLED)


def count_labels(labels: Iterable[Label], names: Iterable[str]) -> dict[str, int]:
    """Examples of each label, in the order of the names."""
    counts = dict.fromkeys(names, 0)
    for label in labels:
        for name in names_in(label):
            counts[name] += 1
    return counts
