"""Features on disk: written piece by piece, and read memory-mapped, whatever task they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import IO, Any

import numpy as np

from attuner.data.features import Features, LabelledTexts, SequencePairs, TokenColumn
from attuner.data.flat_arrays import Array, ArrayWriter, map_arrays

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (SequencePairs, LabelledTexts)}
_ENDS = "_offsets"

Piece = tuple[Features, Mapping[str, int]]


def write_features(file: IO[bytes], pieces: Iterable[Piece]) -> int:
    """Write features that come in pieces, of which there is at least one, as one.

    Args:
        file: Where to; at its begin.
        pieces: Features and counts, by reason; the counts are added up.

    Returns:
        Their length in bytes.

    Raises:
        OSError: The disk is full.
    """
    writer: ArrayWriter | None = None
    counts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for made, added in pieces:
        arrays = dict(_arrays_of(made))
        if writer is None:
            writer = ArrayWriter({name: array.dtype.str for name, array in arrays.items()})
            kind = type(made).__name__
            widths = {name: array.shape[1:] for name, array in arrays.items()}
        for name, array in arrays.items():
            if name.endswith(_ENDS):
                # The first piece has the begin of its first sequence, the others follow on.
                arrays[name] = array[name in ends :] + ends.get(name, 0)
                ends[name] = int(arrays[name][-1])
        writer.append(arrays)
        for reason, num in added.items():
            counts[reason] = counts.get(reason, 0) + num
    assert writer is not None
    writer.write(file, {"kind": kind, "counts": counts, "widths": widths})
    return file.tell()


def map_features(file: IO[bytes], num_bytes: int) -> tuple[Any, dict[str, int]]:
    """The features that `write_features` wrote, memory-mapped, and their counts."""
    arrays, about = map_arrays(file, num_bytes)
    kind = _KINDS[about["kind"]]
    values: dict[str, Any] = {}
    for field in fields(kind):
        array = arrays.get(field.name)
        if array is not None and f"{field.name}{_ENDS}" in arrays:
            values[field.name] = TokenColumn(array, arrays[f"{field.name}{_ENDS}"])
        elif array is not None:
            values[field.name] = array.reshape(-1, *about["widths"][field.name])
        else:
            values[field.name] = None
    return kind(**values), about["counts"]


def _arrays_of(made: Features) -> Iterable[tuple[str, Array]]:
    for field in fields(made):
        value = getattr(made, field.name)
        if isinstance(value, TokenColumn):
            yield field.name, value.values
            yield f"{field.name}{_ENDS}", value.offsets
        elif value is not None:
            yield field.name, np.asarray(value)
