"""Token ids on disk, memory-mapped; in the user's cache folder, so that they are made once.

An entry is named by a hash of all that its ids depend on. It is a file of flat arrays with its
BLAKE2b digest after it: whatever was cut off or damaged is recognised before anything is made of
it. A folder that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from attuner.cache_folder import cache_folder
from attuner.data.feature_files import map_features, write_features
from attuner.data.temporary import no_room, temporary_file
from attuner.tasks.classification import EncodedLabels
from attuner.tasks.translation import Encoded

logger = logging.getLogger(__name__)

Make = Callable[[], Iterable[Encoded]]

# The entries used last are kept, as many as have room in this.
MOST_BYTES = 2_000_000_000
# Raised when the same texts would give other ids, or entries are written otherwise.
_FORMAT = 2
_DIGEST_BYTES = 64
_READ_BYTES = 2**20
# Texts joined at a time, so that they need not all be there twice.
_CHUNK = 10_000


def encoded_key(
    pairs: Iterable[tuple[str, str, int]],
    *,
    tokenizer: str,
    weights: Sequence[float] | npt.NDArray[np.float64] = (),
    **options: object,
) -> str:
    """Hash of all that token ids depend on.

    Args:
        pairs: As `encode` takes them.
        tokenizer: Fingerprint of the tokenizer.
        weights: As `encode` takes them.
        **options: Everything else that `encode` is given; JSON must be able to hold it.
    """
    digest = hashlib.blake2b(digest_size=16)
    head = [_FORMAT, tokenizer, len(weights), options]
    digest.update(json.dumps(head, sort_keys=True).encode())
    digest.update(np.asarray(weights, np.float64).tobytes())
    rest = iter(pairs)
    while chunk := list(islice(rest, _CHUNK)):
        sources, targets, examples = zip(*chunk, strict=True)
        digest.update(np.array(examples, np.int64).tobytes())
        for texts in (sources, targets):
            # With the lengths, the joined texts can be cut in one way only.
            digest.update(np.fromiter(map(len, texts), np.int64, len(texts)).tobytes())
            digest.update("".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def cached(key: str, make: Make) -> Encoded:
    """What `make` gives, from the cache where it has been made before.

    Args:
        key: Hash of all that the result depends on, from `encoded_key`.
        make: Encodes, piece by piece.
    """
    folder = cache_folder() / "encoded"
    entry = folder / f"{key}.arrays"
    found = _read(entry)
    if found is not None:
        return found
    try:
        made = _write(entry, make())
    except OSError as error:
        logger.info("the cache folder cannot be written, each run will encode: %s", error)
        return Encoded(*on_disk(make()))
    with suppress(OSError):  # such as another process that deletes the same
        _delete_oldest(folder)
    return made


def on_disk(pieces: Iterable[Encoded] | Iterable[EncodedLabels]) -> tuple[Any, dict[str, int]]:
    """Features and counts that come in pieces, as one, in a file that is gone after the run.

    Raises:
        DataError: There is no room for it.
    """
    with no_room(), temporary_file() as file:
        num_bytes = write_features(file, ((piece.features, piece.counts) for piece in pieces))
        return map_features(file, num_bytes)


def _read(entry: Path) -> Encoded | None:
    """The entry; None where there is none that is whole."""
    try:
        with entry.open("rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
            if not _is_whole(file, num_bytes):
                logger.info("the cached token ids %s are damaged and made again", entry)
                return None
            made = Encoded(*map_features(file, num_bytes))
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.info("the cache folder cannot be read: %s", error)
        return None
    with suppress(OSError):
        os.utime(entry)
    logger.info("token ids from the cache: %s", entry)
    return made


def _is_whole(file: IO[bytes], num_bytes: int) -> bool:
    """Whether after so many bytes comes their digest; they are not mapped for it."""
    digest = hashlib.blake2b()
    while num_bytes > 0 and (content := file.read(min(_READ_BYTES, num_bytes))):
        digest.update(content)
        num_bytes -= len(content)
    return num_bytes == 0 and file.read() == digest.digest()


def _write(entry: Path, pieces: Iterable[Encoded]) -> Encoded:
    """Write an entry; under its name it is there as a whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=entry.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            num_bytes = write_features(file, ((piece.features, piece.counts) for piece in pieces))
            file.seek(0)
            file.write(hashlib.file_digest(file, "blake2b").digest())
            file.flush()
            made = Encoded(*map_features(file, num_bytes))
        os.replace(name, entry)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    return made


def _delete_oldest(folder: Path) -> None:
    """Delete what was used longest ago, beyond `MOST_BYTES`; remains of killed runs, too."""
    entries = [(path, path.stat()) for path in folder.iterdir()]
    entries.sort(key=lambda entry: entry[1].st_mtime_ns, reverse=True)
    room = MOST_BYTES
    for path, status in entries:
        if status.st_size > room:
            path.unlink(missing_ok=True)
        else:
            room -= status.st_size
