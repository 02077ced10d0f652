"""Find texts that are both learned from and scored on: they make scores too good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attuner.data.splitting import normalised
from attuner.data.units import Example


@dataclass(frozen=True, slots=True)
class Leak:
    """What one part shares with training.

    Attributes:
        part: "validation" or "test".
        num_examples: Examples of the part.
        num_sources: Those of them whose source text, normalised, is in training too.
        num_pairs: Those of them that are in training word for word, translation included.
    """

    part: str
    num_examples: int
    num_sources: int
    num_pairs: int

    def __str__(self) -> str:
        """One sentence with the numbers."""
        share = 100 * self.num_sources / self.num_examples
        return (
            f"{self.num_sources:,} of {self.num_examples:,} {self.part} examples ({share:.1f} %) "
            f"have a source text that is also in training, {self.num_pairs:,} of them with the "
            "same translation: scores on them are too good."
        )


def find_leaks(train: Sequence[Example], **parts: Sequence[Example]) -> list[Leak]:
    """The leaks from training into each part; parts without any are left out."""
    sources = {normalised(example.source) for example in train}
    pairs = set(_pairs(train))
    leaks = []
    for part, examples in parts.items():
        leaked = [example for example in examples if normalised(example.source) in sources]
        if leaked:
            same = sum(pair in pairs for pair in _pairs(leaked))
            leaks.append(Leak(part, len(examples), len(leaked), same))
    return leaks


def _pairs(examples: Iterable[Example]) -> Iterable[tuple[str, str]]:
    return ((example.source, example.references[0]) for example in examples)
