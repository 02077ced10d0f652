"""Token ids kept in the user's cache folder, so that the same data are encoded once.

An entry is named by a hash of all that its ids depend on. It is an Arrow file, memory-mapped, with
its BLAKE2b digest after it: whatever was cut off or damaged is recognised before anything is made
of it. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from attuner.cache_folder import cache_folder
from attuner.data.features import SequencePairs, TokenColumn
from attuner.tasks.translation import Encoded

logger = logging.getLogger(__name__)

# The entries used last are kept, as many as have room in this.
MOST_BYTES = 2_000_000_000
# Raised when the same texts would give other ids, or entries are written otherwise.
_FORMAT = 1
_DIGEST_BYTES = 64
# Texts joined at a time, so that they need not all be there twice.
_CHUNK = 10_000


def encoded_key(
    pairs: Sequence[tuple[str, str, int]],
    *,
    tokenizer: str,
    weights: Sequence[float] = (),
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
    head = [_FORMAT, tokenizer, len(pairs), len(weights), options]
    digest.update(json.dumps(head, sort_keys=True).encode())
    digest.update(np.asarray(weights, np.float64).tobytes())
    for start in range(0, len(pairs), _CHUNK):
        sources, targets, examples = zip(*pairs[start : start + _CHUNK], strict=True)
        digest.update(np.array(examples, np.int64).tobytes())
        for texts in (sources, targets):
            # With the lengths, the joined texts can be cut in one way only.
            digest.update(np.fromiter(map(len, texts), np.int64, len(texts)).tobytes())
            digest.update("".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def cached(key: str, make: Callable[[], Encoded]) -> Encoded:
    """What `make` gives, from the cache where it has been made before.

    Args:
        key: Hash of all that the result depends on, from `encoded_key`.
        make: Encodes.
    """
    folder = cache_folder() / "encoded"
    entry = folder / f"{key}.arrow"
    found = _read(entry)
    if found is not None:
        return found
    encoded = make()
    try:
        _write(entry, encoded)
        _delete_oldest(folder)
    except OSError as error:
        logger.info("the cache folder cannot be written, each run will encode: %s", error)
    return encoded


def _read(entry: Path) -> Encoded | None:
    """The entry; None where there is none that is whole."""
    import pyarrow as pa

    try:
        content = pa.memory_map(str(entry)).read_buffer()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.info("the cache folder cannot be read: %s", error)
        return None
    body = content[:-_DIGEST_BYTES]
    if hashlib.blake2b(body).digest() != bytes(content[-_DIGEST_BYTES:]):
        logger.info("the cached token ids %s are damaged and made again", entry)
        return None
    with suppress(OSError):
        os.utime(entry)
    logger.info("token ids from the cache: %s", entry)
    return _from_batch(pa.ipc.open_file(body).get_batch(0))


def _write(entry: Path, encoded: Encoded) -> None:
    """Write an entry; under its name it is there as a whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    import pyarrow as pa

    batch = _to_batch(encoded)
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=entry.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.seek(0)
            file.write(hashlib.file_digest(file, "blake2b").digest())
        os.replace(name, entry)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _to_batch(encoded: Encoded) -> Any:
    import pyarrow as pa

    features = encoded.features
    columns = {
        "source": features.source.to_arrow(),
        "target": features.target.to_arrow(),
        "example": pa.array(features.example),
        "weight": pa.array(features.weight),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.replace_schema_metadata({"counts": json.dumps(encoded.counts)})


def _from_batch(batch: Any) -> Encoded:
    features = SequencePairs(
        TokenColumn.from_arrow(batch.column("source")),
        TokenColumn.from_arrow(batch.column("target")),
        batch.column("example").to_numpy(),
        batch.column("weight").to_numpy(),
    )
    return Encoded(features, json.loads(batch.schema.metadata[b"counts"]))


def _delete_oldest(folder: Path) -> None:
    """Delete what was used longest ago, beyond `MOST_BYTES`; remains of killed runs, too."""
    entries = [(path, path.stat()) for path in folder.iterdir()]
    entries.sort(key=lambda entry: entry[1].st_mtime_ns, reverse=True)
    room = MOST_BYTES
    for path, status in entries:
        room -= status.st_size
        if room < 0:
            path.unlink(missing_ok=True)
