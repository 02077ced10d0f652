"""Find pairs that may be wrong, for a person to look at. Nothing is left out for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from attuner.data.examples import texts_of
from attuner.data.placeholders import compare_placeholders
from attuner.data.segments import paired_lines
from attuner.data.units import Example

# Only texts of some length have a telling ratio, and only a large gap is worth a look.
_TELLING_CHARACTERS = 20
_EXTREME_RATIO = 3.0

REASONS = {
    "placeholders": "the target lacks placeholders of the source, or has others",
    "length": "one side is much longer than usual for its other side",
    "copied": "the target equals the source",
    "lines": "the sides have different numbers of lines; nothing is learned from them",
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A pair to look at.

    Attributes:
        address: `file:line` or the like.
        source: Source text.
        target: First reference.
        detail: What exactly is odd, such as `lacks %1`.
    """

    address: str
    source: str
    target: str
    detail: str


@dataclass(frozen=True, slots=True)
class Suspicion:
    """All pairs that are odd in one way.

    Attributes:
        reason: A key of `REASONS`.
        count: How many there are.
        shown: A few of them.
    """

    reason: str
    count: int
    shown: tuple[Suspect, ...]


def find_suspicious(
    examples: Iterable[Example], *, num_shown: int = 5, whole_texts: bool = False
) -> list[Suspicion]:
    """Pairs that may be wrong, by reason; reasons without any are left out.

    The examples are passed through twice, and not kept.

    With `whole_texts`, a target need not have the placeholders and lines of its source.
    """
    ratio = _usual_ratio(examples)
    counts = dict.fromkeys(REASONS, 0)
    shown: dict[str, list[tuple[int, Suspect]]] = {reason: [] for reason in REASONS}
    for example in examples:
        for reason, detail in _oddities(example, ratio):
            if whole_texts and reason in ("placeholders", "lines"):
                continue
            counts[reason] += 1
            # Long copies are seldom names or units; of all else, the first are shown.
            merit = len(example.source.split()) if reason == "copied" else 0
            entries = shown[reason]
            if len(entries) < num_shown or merit > entries[-1][0]:
                target = example.references[0]
                suspect = Suspect(str(example.address), example.source, target, detail)
                entries.append((merit, suspect))
                entries.sort(key=lambda entry: -entry[0])
                del entries[num_shown:]
    return [
        Suspicion(reason, num, tuple(suspect for _, suspect in shown[reason]))
        for reason, num in counts.items()
        if num
    ]


def _oddities(example: Example, usual_ratio: float) -> Iterator[tuple[str, str]]:
    source, target = example.source, example.references[0]
    missing, invented = compare_placeholders(source, target)
    if missing or invented:
        parts = [("lacks", missing), ("adds", invented)]
        yield "placeholders", ", ".join(f"{verb} {' '.join(keys)}" for verb, keys in parts if keys)
    longer = max(len(source), len(target) / usual_ratio)
    if longer >= _TELLING_CHARACTERS:
        ratio = len(target) / len(source)
        if abs(math.log(ratio / usual_ratio)) > math.log(_EXTREME_RATIO):
            yield "length", f"{len(source)} characters against {len(target)}"
    if source == target and any(character.isalpha() for character in source):
        yield "copied", ""
    if ("\n" in source or "\n" in target) and not paired_lines(source, target):
        yield "lines", f"{len(source.splitlines())} lines against {len(target.splitlines())}"


def _usual_ratio(examples: Iterable[Example]) -> float:
    """Median of target length by source length, over texts of some length."""
    ratios = np.fromiter(
        (
            len(target) / len(source)
            for source, target in texts_of(examples)
            if len(source) >= _TELLING_CHARACTERS
        ),
        np.float64,
    )
    ratios.sort()
    return float(ratios[len(ratios) // 2]) if len(ratios) else 1.0
