"""Tell the two sides of pairs apart by their letters: is a text rather a source or a target?

Naive Bayes over the groups of one to three letters within words (compare Cavnar and Trenkle
1994, "N-gram-based text categorization"), learned from the user's own pairs: no list of
languages, no dependency.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Side = Literal["source", "target"]
Grams = Counter[str]

_LONGEST = 3
_PRIOR = 0.5  # counted in addition for each group, so that unseen ones are not impossible
_SURE = 3.0  # nats: e^3, twenty to one
_SMALLEST_ACCURACY = 0.9
_FEWEST_PAIRS = 5
_MOST_PAIRS = 1000
_MOST_FOREIGN = 0.3


class Sides:
    """What the source texts and the target texts look like.

    Args:
        sources: Texts of the source side.
        targets: Their target sides. Pairs whose sides are equal teach nothing and are left out.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        pairs = [
            (letter_groups(source), letter_groups(target))
            for source, target in zip(sources, targets, strict=True)
        ]
        self._pairs = [pair for pair in pairs if pair[0] and pair[1] and pair[0] != pair[1]]
        self._pairs = self._pairs[:_MOST_PAIRS]
        self._source = _sum(source for source, _ in self._pairs)
        self._target = _sum(target for _, target in self._pairs)
        self._num_groups = len(self._source | self._target)

    @property
    def are_distinct(self) -> bool:
        """Whether nine of ten texts are told apart by what the others teach.

        They are not where both sides are in one language, or where there are few.
        """
        if len(self._pairs) < _FEWEST_PAIRS:
            return False
        right = [0, 0]
        for source, target in self._pairs:
            right[0] += self._leaning(source, but_source=source, but_target=target) < 0
            right[1] += self._leaning(target, but_source=source, but_target=target) > 0
        return min(right) >= _SMALLEST_ACCURACY * len(self._pairs)

    def side_of(self, text: str) -> Side | None:
        """The side that a text looks like; None where that is not sure.

        >>> pairs = {"Open the file": "Ouvrir le fichier", "Save": "Enregistrer"}
        >>> sides = Sides(list(pairs), list(pairs.values()))
        >>> sides.side_of("the file"), sides.side_of("le fichier"), sides.side_of("%1")
        ('source', 'target', None)
        """
        leaning = self._leaning(letter_groups(text))
        if abs(leaning) < _SURE:
            return None
        return "target" if leaning > 0 else "source"

    def is_foreign(self, text: str) -> bool:
        """Whether many letters of a text occur on neither side: another script, as a rule."""
        letters = [group for group in letter_groups(text).elements() if len(group.strip()) == 1]
        unseen = [x for x in letters if x not in self._source and x not in self._target]
        return len(unseen) > _MOST_FOREIGN * len(letters) if letters else False

    def _leaning(
        self, groups: Grams, *, but_source: Grams | None = None, but_target: Grams | None = None
    ) -> float:
        """How much likelier a text is a target, in nats, by all pairs but the one given."""
        left_out = but_source or Counter(), but_target or Counter()
        prior = _PRIOR * self._num_groups
        source_total = self._source.total() - left_out[0].total() + prior
        target_total = self._target.total() - left_out[1].total() + prior
        shift = math.log(source_total / target_total)
        return sum(
            times
            * (
                math.log(
                    (self._target[group] - left_out[1][group] + _PRIOR)
                    / (self._source[group] - left_out[0][group] + _PRIOR)
                )
                + shift
            )
            for group, times in groups.items()
        )


def letter_groups(text: str) -> Grams:
    """How often groups of one to three letters occur, the edges of words among them as spaces.

    >>> sorted(letter_groups("Le 1"))
    [' l', ' le', 'e', 'e ', 'l', 'le', 'le ']
    """
    groups: Grams = Counter()
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        padded = f" {word} "
        for length in range(1, _LONGEST + 1):
            groups.update(
                padded[start : start + length] for start in range(len(padded) - length + 1)
            )
    groups.pop(" ", None)
    return groups


def _sum(counters: Iterable[Grams]) -> Grams:
    total: Grams = Counter()
    for counter in counters:
        total.update(counter)
    return total
