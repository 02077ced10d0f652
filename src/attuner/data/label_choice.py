"""Which labels a task has, and that the held-out examples have no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from attuner.data.labelled import LabelledExample
from attuner.data.labelled_preparation import PreparedLabels
from attuner.data.labels import (
    Kind,
    Label,
    LabelSet,
    find_labels,
    names_in,
    numbered_labels,
    require_known,
)
from attuner.data.preparation import PARTS

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
    everything = [example for part in PARTS for example in getattr(prepared, part)]
    labels = numbered_labels([example.label for example in everything], given)
    by_place = iter(zip(everything, labels, strict=True))
    parts = {
        part: [_relabelled(*next(by_place)) for _ in getattr(prepared, part)] for part in PARTS
    }
    label_set = find_labels(
        [example.label for example in parts["train"]],
        kind,
        given=given,
        known=known,
        declared=prepared.classes,
    )
    names = frozenset(label_set.names)
    skipped = 0
    for part in PARTS[1:]:
        fits = [kind == "rating" or names.issuperset(names_in(e.label)) for e in parts[part]]
        if unknown == "fail" and not all(fits):
            require_known(
                [example.label for example in parts[part]],
                label_set.names,
                where=part,
                remedy="Nothing can be learned of a label without training examples: mend it, name "
                "all labels in task.labels, or set data.bad_entries=skip to leave such examples "
                "out, counted.",
            )
        skipped += len(fits) - sum(fits)
        parts[part] = [e for e, it_fits in zip(parts[part], fits, strict=True) if it_fits]
    counts = {**prepared.counts, "split": {part: len(parts[part]) for part in PARTS}}
    if skipped:
        counts["skipped"] = {**counts["skipped"], _UNKNOWN: skipped}
    counts["labels"] = _counts(parts["train"], label_set)
    if kind == "rating":
        del counts["labels"]
    learned, validated, tested = (parts[part] for part in PARTS)
    made = replace(prepared, train=learned, validation=validated, test=tested, counts=counts)
    return made, label_set


def _relabelled(example: LabelledExample, label: Label) -> LabelledExample:
    return example if label == example.label else replace(example, label=label)


def _counts(examples: Iterable[LabelledExample], label_set: LabelSet) -> dict[str, int]:
    """Training examples of each label, in the labels' order."""
    counts = dict.fromkeys(label_set.names, 0)
    for example in examples:
        for name in names_in(example.label):
            counts[name] += 1
    return counts
