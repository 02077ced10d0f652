"""What jobs say of their data once these are token ids, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from attuner.data.features import Features, Ints
from attuner.training.events import Listener
from attuner.training.scorer import Part

if TYPE_CHECKING:
    from attuner.data.labelled import LabelledExample
    from attuner.data.parts import Parts
    from attuner.data.units import Example
    from attuner.recipe import Recipe

E = TypeVar("E", bound="Example | LabelledExample")
F = TypeVar("F", bound=Features)


class EncodedJob(Generic[E, F]):
    """The part of a `Job` that follows from its examples and their features; see there.

    Attributes:
        prepared: The data, when they are read.
    """

    prepared: Parts[E]

    def __init__(self, recipe: Recipe, emit: Listener) -> None:
        self.recipe = recipe
        self.emit = emit
        self._features: F | None = None
        self._parts: dict[str, Part[E, F]] = {}
        self._too_long: dict[str, dict[str, int]] = {}

    @property
    def features(self) -> F:
        """What is learned from."""
        assert self._features is not None
        return self._features

    def all_features(self) -> Mapping[str, F]:
        """What is learned from, and what is scored."""
        return {"train": self.features, **{n: part.features for n, part in self._parts.items()}}

    def addresses(self, rows: Ints) -> list[str]:
        """Where the examples behind rows of features come from, each once."""
        examples = self.prepared.train
        found = (str(examples[index].address) for index in self.features.example[rows])
        return list(dict.fromkeys(found))

    @property
    def parts(self) -> Sequence[str]:
        """The parts that are scored."""
        return list(self._parts)

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Numbers of examples, and of what is too long in them."""
        return {**self.prepared.counts, **self._too_long}
