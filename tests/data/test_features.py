from __future__ import annotations

import numpy as np

from attuner.data.features import TokenColumn

LISTS = [[5, 6, 7], [], [8], [9, 10]]


def test_sequences_come_back_in_any_order() -> None:
    column = TokenColumn.from_lists(LISTS)
    flat, lengths = column.take(np.array([3, 0, 1, 3]))

    assert flat.tolist() == [9, 10, 5, 6, 7, 9, 10]
    assert lengths.tolist() == [2, 3, 0, 2]
    assert column[0].tolist() == [5, 6, 7]
    assert len(column) == 4


def test_long_sequences_are_cut_and_keep_their_last_id() -> None:
    lists = [[1, 2, 3, 4, 0], [], [5, 0], [1, 2, 3, 0], [0], [7, 8, 9, 9, 9, 0]]
    column = TokenColumn.from_lists(lists)
    for longest in range(1, 8):
        expected = [ids if len(ids) <= longest else [*ids[: longest - 1], 0] for ids in lists]
        assert column.cut(longest).to_lists() == expected
    assert column.to_lists() == lists


def test_columns_are_joined_and_chosen_from() -> None:
    column = TokenColumn.concatenate([TokenColumn.from_lists(LISTS), TokenColumn.from_lists([[4]])])
    assert column.to_lists() == [*LISTS, [4]]
    chosen = np.array([True, True, False, False, True])
    assert column.where(chosen).to_lists() == [[5, 6, 7], [], [4]]
    nothing = TokenColumn.concatenate([])
    assert nothing.to_lists() == nothing.where(np.zeros(0, bool)).to_lists() == []
    assert (nothing.values.dtype, nothing.offsets.dtype) == (np.int32, np.int64)
