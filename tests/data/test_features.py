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


def test_arrow_keeps_ids_in_32_bits_and_shares_them() -> None:
    array = TokenColumn.from_lists(LISTS).to_arrow()
    column = TokenColumn.from_arrow(array)

    assert array.to_pylist() == LISTS
    assert str(array.type.value_type) == "int32"
    assert column.values.ctypes.data == array.values.buffers()[1].address
