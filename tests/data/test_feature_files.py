"""Features come back from disk as they were, in one piece and memory-mapped."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attuner.data import flat_arrays
from attuner.data.feature_files import map_features, write_features
from attuner.data.features import LabelledTexts, SequencePairs, TokenColumn
from attuner.data.flat_arrays import blocks_of
from attuner.training.manifest import features_fingerprint

COLUMNS = [TokenColumn.from_lists(lists) for lists in ([[5, 6, 7], [], [8]], [[1]], [[], [2, 3]])]


def pairs(column: TokenColumn) -> SequencePairs:
    num = len(column)
    return SequencePairs(column, column, np.arange(num), np.full(num, 0.5))


def texts(column: TokenColumn, *, types: bool, several: bool) -> LabelledTexts:
    num = len(column)
    targets = np.ones((num, 2), np.float32) if several else np.arange(num)
    return LabelledTexts(column, column if types else None, targets, np.ones(num), np.arange(num))


@pytest.mark.parametrize(
    "pieces",
    [
        [pairs(column) for column in COLUMNS],
        [pairs(COLUMNS[0])],
        [pairs(TokenColumn.from_lists([]))],
        [texts(column, types=False, several=False) for column in COLUMNS],
        [texts(column, types=True, several=True) for column in COLUMNS],
    ],
)
def test_pieces_come_back_as_one(pieces: list[Any], tmp_path: Path) -> None:
    counts = [{"cut": 2}, {}, {"cut": 1, "too long": 4}][: len(pieces)]
    with (tmp_path / "file").open("w+b") as file:
        num_bytes = write_features(file, zip(pieces, counts, strict=True))
        file.write(b"a digest")
        file.flush()
        made, added = map_features(file, num_bytes)
    (tmp_path / "file").unlink()
    assert added == ({"cut": 3, "too long": 4} if len(pieces) == 3 else {"cut": 2})
    assert type(made) is type(pieces[0])
    for name in ("source", "target", "tokens", "token_types"):
        parts = [getattr(piece, name, None) for piece in pieces]
        if parts[0] is None:
            assert getattr(made, name, None) is None
            continue
        found = getattr(made, name)
        assert found.to_lists() == [ids for part in parts for ids in part.to_lists()]
        assert (found.values.dtype, found.offsets.dtype) == (np.int32, np.int64)
    for name in ("targets", "weight", "example"):
        if hasattr(made, name):
            whole = np.concatenate([getattr(piece, name) for piece in pieces])
            np.testing.assert_array_equal(getattr(made, name), whole)
            assert getattr(made, name).dtype == whole.dtype


def test_mapped_or_not_the_fingerprint_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = pairs(TokenColumn.concatenate(COLUMNS))
    with (tmp_path / "file").open("w+b") as file:
        made, _ = map_features(file, write_features(file, [(in_memory, {})]))
    whole = features_fingerprint(in_memory)
    assert features_fingerprint(made) == whole
    monkeypatch.setattr(flat_arrays, "_BLOCK", 2)
    assert features_fingerprint(made) == whole == features_fingerprint(in_memory)
    assert whole == "cef03bf513ac3498f9f56a4b0c5d197f"  # that of runs that are resumed


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system knows no advice")
def test_pages_that_are_let_go_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_arrays, "_BLOCK", 1000)
    values = TokenColumn.from_lists([list(range(50_000))])
    with (tmp_path / "file").open("w+b") as file:
        made, _ = map_features(file, write_features(file, [(pairs(values), {})]))
    blocks = [block.copy() for block in blocks_of(made.source.values)]
    assert len(blocks) == 50
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(50_000))
    np.testing.assert_array_equal(made.source.values, np.arange(50_000))
