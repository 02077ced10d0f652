"""Labels: their names and order, and the numbers that a model learns instead of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from attuner.errors import DataError, nearest

# What an example has: one of several labels, any number of them, or a number.
Kind = Literal["single", "multi", "rating"]
# A label as read: a name, several names, or a number.
Label = str | tuple[str, ...] | float
Targets = npt.NDArray[Any]

_SHOWN = 10


class BadLabelError(ValueError):
    """A value that is no label; the message says why, in the words of a bad entry."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a task.

    Attributes:
        kind: `single`, `multi` or `rating`.
        names: The labels, in the order of the model's outputs; none for ratings.
    """

    kind: Kind
    names: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Numbers that a model gives for a text, C."""
        return 1 if self.kind == "rating" else len(self.names)

    def encode(self, labels: Sequence[Label]) -> Targets:
        """What is learned: (B,) int64, for `multi` 0 or 1 (B, C) float32, or (B,) float32.

        >>> LabelSet("multi", ("a", "b")).encode([("b",), ()]).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
        """
        if self.kind == "rating":
            return np.array(labels, np.float32)
        places = {name: place for place, name in enumerate(self.names)}
        if self.kind == "single":
            return np.array([places[str(label)] for label in labels], np.int64)
        targets = np.zeros((len(labels), len(self.names)), np.float32)
        for row, several in enumerate(labels):
            targets[row, [places[name] for name in names_in(several)]] = 1
        return targets


def names_in(label: Label) -> tuple[str, ...]:
    """The names in a label: none in a rating.

    >>> names_in("good"), names_in(("a", "b")), names_in(3.5)
    (('good',), ('a', 'b'), ())
    """
    if isinstance(label, str):
        return (label,)
    return label if isinstance(label, tuple) else ()


def parse_label(
    value: object, kind: Kind, *, separator: str = ",", classes: Sequence[str] = ()
) -> Label | None:
    """A label from a table's value; None where the value says that there is none.

    Args:
        value: Text, a number, or for `multi` a list of such.
        kind: What is wanted.
        separator: What stands between several labels in one text.
        classes: Names of the numbers 0, 1, ..., where the data set declares them.

    Raises:
        BadLabelError: The value is nothing of the kind.

    >>> parse_label(4.0, "single"), parse_label("a, b", "multi"), parse_label("4.5", "rating")
    ('4', ('a', 'b'), 4.5)
    >>> parse_label(float("nan"), "single") is None
    True
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "rating":
        return _rating(value)
    if kind == "single":
        return _name(value, classes) or None
    if isinstance(value, str):
        parts: Iterable[object] = value.split(separator)
    else:
        parts = value if isinstance(value, list | tuple) else [value]
    names = (_name(part, classes) for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))  # each once, in the order given


def _name(value: object, classes: Sequence[str]) -> str:
    """The name of one label; "" where there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        number = int(value)
        if number != value:
            return f"{value:.15g}"
        if not classes:
            return str(number)  # whole: ids have more digits than fit into a float
        return classes[number] if 0 <= number < len(classes) else ""  # the Hub's -1: none
    raise BadLabelError(f"{value!r:.40} where a label should be")


def _rating(value: object) -> float | None:
    if isinstance(value, str) and not value.strip():
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isnan(number):
        return None
    if isinstance(value, bool) or math.isinf(number):
        raise BadLabelError(f"{value!r:.40} where a number should be")
    return number


def find_labels(
    labels: Sequence[Label],
    kind: Kind,
    *,
    given: Sequence[str] = (),
    known: Sequence[str] = (),
    declared: Sequence[str] = (),
    option: str = "task.labels",
) -> LabelSet:
    """The labels of a task, from those of its training examples.

    Their order is the one given, else the checkpoint's where it has the very same labels (so that
    what it has learned of them is of use), else the data set's where it declares them, else numbers
    by size and names by alphabet.

    Args:
        labels: Of the training examples.
        kind: `single`, `multi` or `rating`.
        given: All names, in the order wanted.
        known: Names in the checkpoint's configuration.
        declared: Names that the data set declares, also of labels without examples.
        option: How names are given, for messages.

    Raises:
        DataError: There are labels that are not among those given, or there is only one label.
    """
    if kind == "rating":
        return LabelSet(kind)
    counts = Counter(name for label in labels for name in names_in(label))
    if given:
        require_known(labels, given, where="training", remedy=f"Add them to {option}.")
        names = tuple(given)
    elif set(known) == set(counts):
        names = tuple(known)
    elif set(counts) <= set(declared):
        names = tuple(declared)
    else:
        names = tuple(in_order(counts))
    if len(counts) < (2 if kind == "single" else 1):
        found = f"the label `{next(iter(counts))}`" if counts else "no label"
        raise DataError(
            f"All {len(labels):,} training examples have {found}.",
            "There is something to learn from two different labels on."
            if kind == "single"
            else "There is something to learn where some examples have a label.",
            "Give data with other labels, or name another column: task.label=COLUMN",
        )
    return LabelSet(kind, names)


def numbered_labels(labels: Sequence[Label], given: Sequence[str]) -> list[Label]:
    """Labels whose numbers 0, 1, ... count the names given, by these names.

    >>> numbered_labels(["1", "0"], ["bad", "good"]), numbered_labels(["1", "2"], ["1", "2"])
    (['good', 'bad'], ['1', '2'])
    """
    numbers = {str(place): name for place, name in enumerate(given)}
    found = {name for label in labels for name in names_in(label)}
    if not found or not found <= set(numbers) or found & set(given):
        return list(labels)
    return [
        numbers[label]
        if isinstance(label, str)
        else tuple(numbers[name] for name in names_in(label))
        for label in labels
    ]


def require_known(
    labels: Sequence[Label], names: Sequence[str], *, where: str, remedy: str
) -> None:
    """See that examples have no other labels than these.

    Raises:
        DataError: They have.
    """
    known = set(names)
    unknown = Counter(n for label in labels for n in names_in(label) if n not in known)
    if not unknown:
        return
    listed = ", ".join(f"`{name}` {count:,}" for name, count in unknown.most_common(_SHOWN))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    raise DataError(
        f"Unknown labels in {where}: {listed}{more}.",
        f"Known are: {', '.join(names)}.",
        remedy,
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Names in an order that does not depend on the data's: numbers by size, else by alphabet.

    >>> in_order(["10", "9", "-1"]), in_order(["b", "10", "a"])
    (['-1', '9', '10'], ['10', 'a', 'b'])
    """
    listed = sorted(names)
    return sorted(listed, key=float) if all(map(_is_number, listed)) else listed


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def class_weights(
    targets: Targets, label_set: LabelSet, wanted: Literal["balanced"] | Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """The weight of each label's loss, (C,).

    `balanced` gives every label the same sum of weights (King and Zeng 2001, as scikit-learn has
    it): B / (C · number of its examples). For `multi` it is the weight of an example that has the
    label beside one that has not: the number of those without it by the number of those with it.

    Args:
        targets: Of the training examples, as `LabelSet.encode` makes them.
        label_set: The labels; no ratings.
        wanted: `balanced`, or weights by name; 1 where a name is missing.

    Raises:
        DataError: There is no such label.
    """
    if _is_mapping(wanted):
        return weights_by_label(wanted, label_set)
    if label_set.kind == "multi":
        counts = targets.sum(0)
        weights = (len(targets) - counts) / np.maximum(counts, 1)
        return np.where(counts > 0, weights, 1).astype(np.float32)
    counts = np.bincount(targets, minlength=len(label_set.names))
    return (len(targets) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def weights_by_label(weights: Mapping[str, float], label_set: LabelSet) -> npt.NDArray[np.float32]:
    """Weights by name, 1 where a name is missing, in the order of the labels, (C,).

    Raises:
        DataError: There is no such label.

    >>> weights_by_label({"rare": 5}, LabelSet("single", ("often", "rare"))).tolist()
    [1.0, 5.0]
    """
    for name in weights:
        if name not in label_set.names:
            raise DataError(
                f'task.class_weights: there is no label "{name}".', nearest(name, label_set.names)
            )
    return np.array([weights.get(name, 1.0) for name in label_set.names], np.float32)


def probabilities(logits: Targets, label_set: LabelSet) -> Targets:
    """Probabilities of the labels, (N, C): of one that holds, or of each by itself; (N, 0)."""
    logits = logits.astype(np.float64)
    if label_set.kind == "rating":
        return np.zeros((len(logits), 0))
    if label_set.kind == "multi":
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def predictions(logits: Targets, label_set: LabelSet, *, threshold: float = 0.5) -> Targets:
    """Classes (N,), 0 or 1 for each of several labels (N, C), or ratings (N,)."""
    if label_set.kind == "rating":
        return np.asarray(logits[:, 0], np.float64)
    if label_set.kind == "multi":
        return np.asarray(probabilities(logits, label_set) >= threshold, np.int64)
    return np.asarray(logits.argmax(1))


def decided(logits: Targets, label_set: LabelSet, *, threshold: float = 0.5) -> list[Label]:
    """The label, labels or rating that a model's outputs (N, C) mean.

    >>> decided(np.array([[2.0, 1.0], [0.0, 3.0]]), LabelSet("single", ("a", "b")))
    ['a', 'b']
    """
    found = predictions(logits, label_set, threshold=threshold)
    names = label_set.names
    if label_set.kind == "rating":
        return list(found.tolist())
    if label_set.kind == "single":
        return [names[place] for place in found.tolist()]
    return [tuple(name for name, holds in zip(names, row, strict=True) if holds) for row in found]


def _is_mapping(wanted: object) -> TypeGuard[Mapping[str, float]]:
    return isinstance(wanted, Mapping)
