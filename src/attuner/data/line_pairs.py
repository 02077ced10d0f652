"""Pairs of lines, or of whole texts, that examples are cut into to be learned from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from attuner.data.examples import languages_of, texts_of
from attuner.data.features import Ints
from attuner.data.segments import paired_lines
from attuner.data.stored import Stored
from attuner.data.units import Example

Languages = tuple[str | None, str | None]


def training_pairs(
    examples: Iterable[Example], *, whole_texts: bool = False
) -> Iterator[tuple[str, str, int]]:
    """Pairs of lines, or of whole texts, to learn from, each with the position of its example.

    An example whose two sides have different numbers of lines gives none:
    `num_unpaired` counts those.
    """
    for index, texts in enumerate(texts_of(examples)):
        for source, target in paired_lines(*texts, whole=whole_texts):
            yield source, target, index


class LinePairs(Collection[tuple[str, str, int]]):
    """Pairs of lines, or of whole texts, to learn from; made anew in each pass.

    Args:
        examples: What they are cut from.
        places: Which of the examples; None for all.
        whole_texts: Whether a model sees texts as a whole.
    """

    def __init__(self, examples: Stored[Example], places: Ints | None, whole_texts: bool) -> None:
        self._examples = examples if places is None else examples.select(places)
        self._places = places
        self._whole_texts = whole_texts
        self._num: int | None = None

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        num, places = 0, self._places
        for pair in training_pairs(self._examples, whole_texts=self._whole_texts):
            num += 1
            yield pair if places is None else (*pair[:2], int(places[pair[2]]))
        self._num = num

    def __len__(self) -> int:
        if self._num is None:
            self._num = sum(1 for _ in self)
        return self._num

    def __contains__(self, pair: object) -> bool:
        return any(pair == other for other in self)


def pairs_by_languages(examples: Stored[Example], whole_texts: bool) -> dict[Languages, LinePairs]:
    """Pairs to learn from, by what a codec is told of their languages."""
    known: dict[Languages, int] = {}
    told = (
        (source, target) if source else (None, None) for source, target in languages_of(examples)
    )
    numbers = np.fromiter((known.setdefault(pair, len(known)) for pair in told), np.int64)
    if len(known) == 1:
        return {languages: LinePairs(examples, None, whole_texts) for languages in known}
    return {
        languages: LinePairs(examples, np.flatnonzero(numbers == number), whole_texts)
        for languages, number in known.items()
    }


def num_unpaired(examples: Iterable[Example]) -> int:
    """Number of examples whose two sides have different numbers of lines."""
    return sum(
        not paired_lines(source, target)
        for source, target in texts_of(examples)
        if "\n" in source or "\r" in source or "\n" in target or "\r" in target
    )
