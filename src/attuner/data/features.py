"""Token ids of many sequences in two flat arrays: no Python work per token.

Kept as Arrow lists, 32 bits wide, so that they can lie on disk and be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]


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
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        flat: Iterable[int] = chain.from_iterable(sequences)
        return cls(np.fromiter(flat, np.int32, int(offsets[-1])), offsets)

    @classmethod
    def from_arrow(cls, array: pa.LargeListArray) -> TokenColumn:
        """View an Arrow list of int32 without copying it."""
        return cls(array.values.to_numpy(), array.offsets.to_numpy())

    def to_arrow(self) -> pa.LargeListArray:
        """The column as an Arrow list of int32."""
        import pyarrow as pa

        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Ints:
        """Number of ids in each sequence."""
        return np.diff(self.offsets)

    def take(self, rows: Ints) -> tuple[Ints, Ints]:
        """The ids of `rows` in one flat array, and the length of each, both int64."""
        lengths = (
            self.lengths[rows]
            if len(rows) > len(self) // 8
            else (self.offsets[rows + 1] - self.offsets[rows])
        )
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
