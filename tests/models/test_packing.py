from __future__ import annotations

import torch

from attuner.models.layout import layout


def test_positions_restart_with_each_sequence() -> None:
    packed = layout(torch.tensor([2, 3]), torch.tensor([1, 4]))

    assert packed.source_positions[0, :5].tolist() == [0, 1, 0, 1, 2]
    assert packed.target_positions[0, :5].tolist() == [0, 0, 1, 2, 3]


def test_rows_come_in_few_lengths_so_that_kernels_are_reused() -> None:
    packed = layout(torch.tensor([60, 70]), torch.tensor([1, 3]))

    assert packed.source_positions.shape == (1, 144)
    assert packed.target_positions.shape == (1, 16)
    assert not packed.source_positions[0, 130:].any()


def test_buckets_cover_the_rows_in_order_and_hold_like_lengths() -> None:
    lengths = torch.tensor([1, 8, 9, 12, 30, 120])
    packed = layout(lengths, lengths.flip(0).sort().values)

    assert [bucket.num for bucket in packed.buckets] == [2, 2, 1, 1]
    assert packed.buckets[0].source == slice(0, 9)
    assert packed.buckets[-1].source.stop == int(lengths.sum())
    assert [bucket.source_length for bucket in packed.buckets] == [8, 12, 30, 120]


def test_padding_of_a_block_is_hidden() -> None:
    (bucket,) = layout(torch.tensor([1, 3]), torch.tensor([3, 2])).buckets

    assert bucket.source_is_pad[:, 0, 0].tolist() == [[False, True, True], [False, False, False]]
    assert bucket.is_future.tolist() == [
        [False, True, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
