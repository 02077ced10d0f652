"""Token ids of many sequences in two flat arrays: no Python work per token.

The arrays may lie on disk, memory-mapped: see `flat_arrays`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def offsets_of(lengths: Ints) -> Ints:
    """Where sequences of these lengths begin, one after the other, and where the last ends.

    >>> offsets_of(np.array([2, 1])).tolist()
    [0, 2, 3]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    lengths.cumsum(out=offsets[1:])
    return offsets


@dataclass(frozen=True, slots=True)
class TokenColumn:
    """Sequences of token ids.

    Attributes:
        values: All ids, one sequence after the other, int32 (N,).
        offsets: Where each sequence begins, and the end of the last, int64 (rows + 1,).
    """

    values: npt.NDArray[np.int32]
    offsets: Ints

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]]) -> TokenColumn:
        """Flatten Python lists, once.

        >>> TokenColumn.from_lists([[5, 6], [7]]).lengths.tolist()
        [2, 1]
        """
        lengths = np.fromiter((len(ids) for ids in sequences), np.int64, len(sequences))
        offsets = offsets_of(lengths)
        flat: Iterable[int] = chain.from_iterable(sequences)
        return cls(np.fromiter(flat, np.int32, int(offsets[-1])), offsets)

    @classmethod
    def concatenate(cls, columns: Sequence[TokenColumn]) -> TokenColumn:
        """One column after the other.

        >>> column = TokenColumn.from_lists([[5, 6], [7]])
        >>> TokenColumn.concatenate([column, column]).to_lists()
        [[5, 6], [7], [5, 6], [7]]
        """
        lengths = [column.lengths for column in columns]
        values = [column.values for column in columns]
        return cls(
            np.concatenate(values) if values else np.zeros(0, np.int32),
            offsets_of(np.concatenate(lengths) if lengths else np.zeros(0, np.int64)),
        )

    def to_lists(self) -> list[list[int]]:
        """The sequences as Python lists."""
        flat = self.values.tolist()
        ends = self.offsets.tolist()
        return [flat[start:end] for start, end in pairwise(ends)]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Ints:
        """Number of ids in each sequence."""
        return np.diff(self.offsets)

    def lengths_at(self, rows: Ints) -> Ints:
        """Number of ids in some of the sequences: of few, sooner than all lengths."""
        found: Ints = self.offsets[rows + 1] - self.offsets[rows]
        return found

    def where(self, chosen: Flags) -> TokenColumn:
        """The chosen sequences, in their order.

        >>> TokenColumn.from_lists([[5, 6], [7]]).where(np.array([False, True])).to_lists()
        [[7]]
        """
        lengths = self.lengths
        return TokenColumn(self.values[np.repeat(chosen, lengths)], offsets_of(lengths[chosen]))

    def cut(self, longest: int, num_kept: int = 1) -> TokenColumn:
        """No sequence longer than `longest` ids; those that were keep their last `num_kept`.

        >>> TokenColumn.from_lists([[5, 6, 7, 0], [8, 0]]).cut(3).to_lists()
        [[5, 6, 0], [8, 0]]
        >>> TokenColumn.from_lists([[5, 6, 7, 0, 1], [8, 0, 1]]).cut(3, num_kept=2).to_lists()
        [[5, 0, 1], [8, 0, 1]]
        """
        lengths = self.lengths
        is_long = lengths > longest
        if not is_long.any():
            return self
        cuts, ends = self.offsets[:-1][is_long] + longest, self.offsets[1:][is_long]
        values = self.values.copy()
        for place in range(1, num_kept + 1):
            values[cuts - place] = self.values[ends - place]
        # +1 where a part to leave out begins, -1 where it ends: their sum says what is inside.
        edges = np.zeros(len(values) + 1, np.int8)
        edges[cuts] += 1
        edges[ends] -= 1
        inside = edges[:-1].cumsum(dtype=np.int8).astype(bool)
        return TokenColumn(values[~inside], offsets_of(np.minimum(lengths, longest)))

    def take(self, rows: Ints) -> tuple[Ints, Ints]:
        """The ids of `rows` in one flat array, and the length of each, both int64."""
        lengths = self.lengths_at(rows)
        starts = np.repeat(self.offsets[rows] - (lengths.cumsum() - lengths), lengths)
        return self.values[starts + np.arange(len(starts))].astype(np.int64), lengths


@dataclass(frozen=True, slots=True)
class SequencePairs:
    """Features of text → text tasks, one row a pair of lines.

    Attributes:
        source: Source ids, end token included.
        target: Target ids, end token included.
        example: For each row, the index of the example it was cut from.
        weight: For each row, how often it is seen in an epoch.
    """

    source: TokenColumn
    target: TokenColumn
    example: Ints
    weight: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.target)

    @property
    def source_lengths(self) -> Ints:
        """Source tokens of each row."""
        return self.source.lengths

    @property
    def target_lengths(self) -> Ints:
        """What is learned of each row, and its loss a sum over: target tokens."""
        return self.target.lengths

    @property
    def sizes(self) -> Ints:
        """What the size of an update counts: target tokens."""
        return self.target.lengths


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Features of classification, one row an example.

    Attributes:
        tokens: Token ids, special tokens included.
        token_types: For pairs, where the family tells them apart: which text each token is of.
        targets: What is learned, as `labels.LabelSet.encode` makes it: (rows,) or (rows, C).
        weight: For each row, how often it is seen in an epoch.
        example: For each row, index of the example it is of.
    """

    tokens: TokenColumn
    token_types: TokenColumn | None
    targets: npt.NDArray[Any]
    weight: npt.NDArray[np.float64]
    example: Ints

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def source_lengths(self) -> Ints:
        """Tokens of each row."""
        return self.tokens.lengths

    @property
    def target_lengths(self) -> Ints:
        """What is learned of each row, and its loss a sum over: one label, or one set of them."""
        return np.ones(len(self), np.int64)

    @property
    def sizes(self) -> Ints:
        """What the size of an update counts: tokens."""
        return self.tokens.lengths


Features = SequencePairs | LabelledTexts
