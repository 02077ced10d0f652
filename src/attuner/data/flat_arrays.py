"""Flat arrays on disk: written piece by piece, and read as if they were in memory.

A file holds one array after the other, then their names, types and places as JSON, and the length
of that JSON. All is little-endian.
"""

from __future__ import annotations

import json
import mmap
import shutil
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from attuner.data.temporary import temporary_file

Array = npt.NDArray[Any]

_ALIGNMENT = 64
_LENGTH_BYTES = 8
_COPIED_BYTES = 2**20
_BLOCK = 2**20


class ArrayWriter:
    """Arrays that grow at their ends, each in a temporary file until all are done.

    Args:
        dtypes: Their names and types, such as `<i4`.
    """

    def __init__(self, dtypes: Mapping[str, str]) -> None:
        self._dtypes = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
        self._files = {name: temporary_file() for name in dtypes}

    def append(self, pieces: Mapping[str, Array]) -> None:
        """Put a piece at the end of each array.

        Raises:
            OSError: The disk is full.
        """
        for name, piece in pieces.items():
            for block in blocks_of(piece):
                self._files[name].write(block.astype(self._dtypes[name], copy=False).tobytes())

    def write(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        """Write all arrays, and what JSON can hold about them, into one file.

        Raises:
            OSError: The disk is full.
        """
        places = {}
        for name, dtype in self._dtypes.items():
            source = self._files[name]
            num = source.tell() // dtype.itemsize
            file.write(bytes(-file.tell() % _ALIGNMENT))
            places[name] = [dtype.str, file.tell(), num]
            source.seek(0)
            shutil.copyfileobj(source, file, _COPIED_BYTES)
        content = json.dumps({"arrays": places, "about": about}).encode()
        file.write(content + len(content).to_bytes(_LENGTH_BYTES, "little"))
        file.flush()


def map_arrays(file: IO[bytes], num_bytes: int) -> tuple[dict[str, Array], Any]:
    """The arrays of a file, memory-mapped, and what was written about them.

    Args:
        file: What `ArrayWriter` wrote; it may be closed, or deleted, afterwards.
        num_bytes: How long that is, where something else comes after it.
    """
    content = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_READ)
    end = num_bytes - _LENGTH_BYTES
    start = end - int.from_bytes(content[end:], "little")
    found = json.loads(content[start:end])
    arrays: dict[str, Array] = {
        name: np.ndarray((num,), dtype, buffer=content, offset=place)
        for name, (dtype, place, num) in found["arrays"].items()
    }
    return arrays, found["about"]


def blocks_of(array: Array) -> Iterator[Array]:
    """An array piece by piece; of a mapped one, no piece stays in memory after its turn.

    The system would let go of the pages anyway where memory runs short. Until then they would
    count as this process's.
    """
    mapped: Any = array
    while isinstance(mapped, np.ndarray | memoryview):
        mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
    for start in range(0, len(array), _BLOCK):
        yield array[start : start + _BLOCK]
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
