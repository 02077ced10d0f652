"""Texts known by a hash of eight bytes, and sets of such that take little memory.

Of a hundred million different texts, two have the same hash in one of several thousand cases
(2^64 hashes); then one of the two counts as the other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

_SMALLEST = 2**10
_MOST_FULL = 0.6


def hash_of(*texts: str) -> int:
    """A hash of texts, the same in every process; none of them may hold a NUL character."""
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest())


class HashSet:
    """A set of hashes in a flat table (open addressing, linear probing).

    It takes 13 to 27 bytes a hash, where a set of Python's takes a hundred.

    >>> known = HashSet([5, 6])
    >>> 5 in known, known.add(7), known.add(7), len(known)
    (True, True, False, 3)
    """

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self._table = array("Q", bytes(8 * _SMALLEST))
        self._num = 0
        for value in hashes:
            self.add(value)

    def __len__(self) -> int:
        return self._num

    def __contains__(self, value: int) -> bool:
        return self._table[self._place(value or 1)] != 0

    def add(self, value: int) -> bool:
        """Put a hash in; whether it is new."""
        value = value or 1  # 0 marks what is free
        place = self._place(value)
        if self._table[place]:
            return False
        self._table[place] = value
        self._num += 1
        if self._num > _MOST_FULL * len(self._table):
            self._grow()
        return True

    def _place(self, value: int) -> int:
        """Where a value stands, or would."""
        table, mask = self._table, len(self._table) - 1
        place = value & mask
        while (found := table[place]) and found != value:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        old = self._table
        self._table = array("Q", bytes(16 * len(old)))
        for value in old:
            if value:
                self._table[self._place(value)] = value
