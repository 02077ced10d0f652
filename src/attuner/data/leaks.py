"""Find texts that are both learned from and scored on: they make scores too good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attuner.data.examples import texts_of
from attuner.data.features import Flags
from attuner.data.hashes import HashSet, hash_of
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


def find_leaks(train: Iterable[Example], **parts: Sequence[Example]) -> list[Leak]:
    """The leaks from training into each part; parts without any are left out.

    Memory grows with the parts, not with training.
    """
    held_out = source_hashes(*parts.values())
    learned, pairs = HashSet(), HashSet()
    for source, target in texts_of(train) if len(held_out) else ():
        value = hash_of(normalised(source))
        if value in held_out:
            learned.add(value)
            pairs.add(hash_of(source, target))
    leaks = []
    for part, examples in parts.items():
        leaked = same = 0
        for source, target in texts_of(examples) if len(learned) else ():
            if hash_of(normalised(source)) in learned:
                leaked += 1
                same += hash_of(source, target) in pairs
        if leaked:
            leaks.append(Leak(part, len(examples), leaked, same))
    return leaks


def source_hashes(*parts: Iterable[Example]) -> HashSet:
    """Hashes of the source texts, normalised."""
    return HashSet(
        hash_of(normalised(source)) for examples in parts for source, _ in texts_of(examples)
    )


def are_in(examples: Sequence[Example], known: HashSet) -> Flags:
    """For each example, whether its source text, normalised, is among the known ones."""
    found = (hash_of(normalised(source)) in known for source, _ in texts_of(examples))
    return np.fromiter(found, bool, len(examples))
