"""Temporary files of the size of the data: without a name, so that no end of a run leaves any."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from attuner.cache_folder import cache_folder
from attuner.errors import DataError

# Small reads here and there must not each fetch much around them.
_BUFFER_BYTES = 2**14


def temporary_file() -> IO[bytes]:
    """A file that is gone when it is closed, in the cache folder.

    The system's folder for such files, which often lies in memory, is taken only where the cache
    folder cannot be written.

    Raises:
        OSError: Neither can be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(buffering=_BUFFER_BYTES, dir=folder)
    except OSError:
        return tempfile.TemporaryFile(buffering=_BUFFER_BYTES)


@contextmanager
def no_room() -> Iterator[None]:
    """Turn what the disk refuses inside the block into words.

    Raises:
        DataError: A temporary file cannot be written, or read again.
    """
    try:
        yield
    except OSError as error:
        folder = cache_folder()
        raise DataError(
            f"A temporary file with the examples cannot be kept in {folder}: "
            f"{os.strerror(error.errno) if error.errno else error}.",
            "While a run goes on, its examples lie on disk, about as large as the unpacked texts.",
            "Make room there, or name another folder: ATTUNER_CACHE=FOLDER",
        ) from error
