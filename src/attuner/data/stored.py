"""Examples in a temporary file, so that a data set may be larger than memory.

A Python object for each of five million examples takes gigabytes. Here each takes 24 bytes of
memory: where it stands in the file, its place among the others, and its weight. Whoever asks for
an example gets it made anew. Small data sets go the same way, and never leave the system's cache
of files.
"""

from __future__ import annotations

import marshal
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from attuner.data.features import Flags, Ints
from attuner.data.temporary import no_room, temporary_file

T = TypeVar("T")
Record = tuple[Any, ...]
Weights = npt.NDArray[np.float64]

# Records fetched at a time; in one read where at most so many times their bytes lie around them.
_BLOCK = 1_000
_MOST_SPREAD = 4
_MOST_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class Packing(Generic[T]):
    """How examples become plain values and back.

    Attributes:
        pack: An example → texts, numbers, None and tuples of such; without its weight.
        unpack: These and a weight → the example.
        weight: An example → its weight.
    """

    pack: Callable[[T], Record]
    unpack: Callable[[Record, float], T]
    weight: Callable[[T], float]


class Stored(Sequence[T]):
    """Examples of a temporary file, in some order; the file goes when the last of them does.

    Args:
        file: Where their records stand.
        rows: Which of the file's records these are, in order.
        weights: How often each is seen in an epoch.
        packing: What makes examples of records.
    """

    def __init__(self, file: _File, rows: Ints, weights: Weights, packing: Packing[T]) -> None:
        self._file = file
        self._rows = rows
        self._packing = packing
        self.weights = weights

    @classmethod
    def of(
        cls, examples: Iterable[T], packing: Packing[T], *, beside: Stored[T] | None = None
    ) -> Stored[T]:
        """Store examples as they come; in the file of others, where they are to be joined.

        Raises:
            DataError: The temporary file cannot be written.
        """
        file = _File() if beside is None else beside._file
        first, weights = len(file), array("d")
        for example in examples:
            file.append(packing.pack(example))
            weights.append(packing.weight(example))
        file.flush()
        return cls(file, np.arange(first, len(file)), np.array(weights, np.float64), packing)

    def select(self, places: Ints | Flags) -> Stored[T]:
        """Those at some places, in the order of these; also by a flag for each."""
        return Stored(self._file, self._rows[places], self.weights[places], self._packing)

    def with_weights(self, weights: Weights) -> Stored[T]:
        """The same with other weights."""
        return Stored(self._file, self._rows, weights, self._packing)

    def joined(self, others: Stored[T]) -> Stored[T]:
        """These, then others of the same file."""
        assert others._file is self._file
        rows = np.concatenate([self._rows, others._rows])
        weights = np.concatenate([self.weights, others.weights])
        return Stored(self._file, rows, weights, self._packing)

    def records(self) -> Iterator[Record]:
        """The packed values, which are to be had faster than the examples."""
        for start in range(0, len(self), _BLOCK):
            yield from self._file.read(self._rows[start : start + _BLOCK])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            records, weights = self._file.read(self._rows[block]), self.weights[block].tolist()
            yield from map(self._packing.unpack, records, weights)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Stored[T]: ...

    def __getitem__(self, place: int | slice) -> T | Stored[T]:
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        (record,) = self._file.read(self._rows[[place]])
        return self._packing.unpack(record, float(self.weights[place]))


def spread(parts: Sequence[Sequence[T]], most: int) -> list[T]:
    """At most so many examples of some parts, evenly spread over them.

    >>> spread([[1, 2, 3], [4, 5]], 2)
    [1, 3]
    """
    step = max(1, sum(map(len, parts)) // most)
    chosen, start = [], 0
    for part in parts:
        chosen += [part[place] for place in range(start, len(part), step)]
        start = -(len(part) - start) % step
    return chosen[:most]


class _File:
    """Records one after the other.

    `marshal` is fast and keeps every text as it is; what it writes is for this very process only.
    """

    def __init__(self) -> None:
        with no_room():
            self._file = temporary_file()
        self._ends = array("q", [0])
        self._is_at_end = True

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, record: Record) -> None:
        content = marshal.dumps(record)
        try:
            if not self._is_at_end:  # somebody has read since
                self._file.seek(0, os.SEEK_END)
                self._is_at_end = True
            self._file.write(content)
        except OSError:
            with no_room():  # entered here only: it is dear where a million records come
                raise
        self._ends.append(self._ends[-1] + len(content))

    def read(self, rows: Ints) -> list[Record]:
        """Some records, in the order of `rows`."""
        ends = np.frombuffer(self._ends, np.int64)
        starts, stops = ends[rows], ends[rows + 1]
        with no_room():
            first, last = int(starts.min()), int(stops.max())
            if last - first <= min(_MOST_BYTES, _MOST_SPREAD * int((stops - starts).sum())):
                content = memoryview(self._fetch(first, last))
                pairs = zip((starts - first).tolist(), (stops - first).tolist(), strict=True)
                return [marshal.loads(content[start:stop]) for start, stop in pairs]
            pairs = zip(starts.tolist(), stops.tolist(), strict=True)
            return [marshal.loads(self._fetch(start, stop)) for start, stop in pairs]

    def flush(self) -> None:
        """Let what was appended be read."""
        with no_room():
            self._file.flush()

    def _fetch(self, start: int, stop: int) -> bytes:
        if hasattr(os, "pread"):  # threads and forked processes share one place in the file
            return os.pread(self._file.fileno(), stop - start, start)
        self._is_at_end = False
        self._file.seek(start)
        return self._file.read(stop - start)
