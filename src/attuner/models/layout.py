"""How packed rows are laid out: where sequences begin and end, and which are of like length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbouring sequences of like length, whose attention is computed in one padded block.

    Attributes:
        num: Sequences in the bucket, b.
        source: Source tokens of the bucket in the packed row, as a slice.
        target: Target tokens of the bucket, as a slice.
        source_length: Longest source, s.
        target_length: Longest target, t.
        source_index: Place of each source token in the flattened (b·s) block.
        target_index: Place of each target token in the flattened (b·t) block.
        source_is_pad: Which places of the source block hold no token, (b, 1, 1, s).
        is_future: Which target positions a target position may not see, (t, t).
    """

    num: int
    source: slice
    target: slice
    source_length: int
    target_length: int
    source_index: Tensor
    target_index: Tensor
    source_is_pad: Tensor
    is_future: Tensor


_TENSORS = ("source_index", "target_index", "source_is_pad", "is_future")


@dataclass(frozen=True)
class Packed:
    """Where sequences begin and end in the packed rows.

    Attributes:
        source_positions: Position of each source token in its sequence, (1, S); 0 where the row
            is filled up.
        target_positions: Position of each target token in its sequence, (1, T); likewise.
        source_lengths: Source tokens of each sequence, (B,), int64, on the CPU.
        target_lengths: Target tokens of each sequence, likewise.
        source_starts: Where each source begins, and the end of the last, (B + 1,), int32, on the
            CPU.
        target_starts: The same for targets.
    """

    source_positions: Tensor
    target_positions: Tensor
    source_lengths: Tensor
    target_lengths: Tensor
    source_starts: Tensor
    target_starts: Tensor

    @cached_property
    def longest(self) -> int:
        """Longest sequence of either side, in tokens."""
        return max(int(self.source_lengths.max()), int(self.target_lengths.max()))

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """Sequences of like length, in the order of the rows; made where they are asked for."""
        device = self.source_positions.device
        return tuple(
            replace(bucket, **{name: getattr(bucket, name).to(device) for name in _TENSORS})
            for bucket in _buckets(self.source_lengths, self.target_lengths)
        )


def layout(source_lengths: Tensor, target_lengths: Tensor) -> Packed:
    """The layout of sequences that lie in the packed rows in this order.

    Sequences should be sorted by length: a bucket is a run of neighbours whose longest side
    falls between the same two of 8, 12, 16, 24, 32, 48, ... tokens.

    Args:
        source_lengths: Source tokens of each sequence, (B,), int64, on the CPU.
        target_lengths: Target tokens of each sequence, (B,), int64, on the CPU.
    """
    return Packed(
        filled_up(_positions(source_lengths), 0)[None],
        filled_up(_positions(target_lengths), 0)[None],
        source_lengths,
        target_lengths,
        _starts(source_lengths),
        _starts(target_lengths),
    )


def encoder_layout(lengths: Tensor) -> Packed:
    """The layout of a model that is an encoder and nothing else: both sides are the same.

    Args:
        lengths: Tokens of each sequence, (B,), int64, on the CPU; sorted, as in `layout`.
    """
    positions = filled_up(_positions(lengths), 0)[None]
    starts = _starts(lengths)
    return Packed(positions, positions, lengths, lengths, starts, starts)


def _buckets(source_lengths: Tensor, target_lengths: Tensor) -> Iterator[Bucket]:
    source_positions = _positions(source_lengths)
    target_positions = _positions(target_lengths)
    steps = torch.tensor([b for e in range(3, 30) for b in (2**e, 3 * 2 ** (e - 1))])
    size = torch.bucketize(torch.maximum(source_lengths, target_lengths), steps)
    cuts = [0, *(torch.nonzero(size.diff()).view(-1) + 1).tolist(), len(size)]
    source_start = target_start = 0
    for first, last in pairwise(cuts):
        sources, targets = source_lengths[first:last], target_lengths[first:last]
        source = slice(source_start, source_start + int(sources.sum()))
        target = slice(target_start, target_start + int(targets.sum()))
        s, t = int(sources.max()), int(targets.max())
        rows = torch.arange(last - first)
        yield Bucket(
            num=last - first,
            source=source,
            target=target,
            source_length=s,
            target_length=t,
            source_index=rows.repeat_interleave(sources) * s + source_positions[source],
            target_index=rows.repeat_interleave(targets) * t + target_positions[target],
            source_is_pad=(torch.arange(s) >= sources[:, None])[:, None, None],
            is_future=torch.ones(t, t, dtype=torch.bool).triu(1),
        )
        source_start, target_start = source.stop, target.stop


def filled_up(row: Tensor, fill: int) -> Tensor:
    """A packed row, (N,), filled up to a length that comes again; see `num_filling`."""
    return F.pad(row, (0, num_filling(len(row))), value=fill)


def padded(
    flat: Tensor, lengths: Tensor, fill: int, num_rows: int, width: int, *, on_left: bool = False
) -> tuple[Tensor, Tensor]:
    """Flat ids (N,) as rows filled up with `fill`, (num_rows, width), and which are real.

    Rows beyond those of `lengths` have one real place, with `fill` in it: a row in which nothing
    can be attended to would give numbers that are none.

    >>> ids, real = padded(torch.tensor([7, 8, 9]), torch.tensor([2, 1]), 0, 3, 3)
    >>> ids.tolist(), real.int().tolist()
    ([[7, 8, 0], [9, 0, 0], [0, 0, 0]], [[1, 1, 0], [1, 0, 0], [1, 0, 0]])
    """
    more = num_rows - len(lengths)
    assert more >= 0
    flat = F.pad(flat, (0, more), value=fill)
    places = torch.arange(width)
    if on_left:
        places = places.flip(0)
    is_real = places < F.pad(lengths, (0, more), value=1)[:, None]
    rows = flat.new_full(is_real.shape, fill)
    rows[is_real] = flat
    return rows, is_real


def num_filling(length: int) -> int:
    """How many places to add to a row, at most one in 32 of a long one.

    oneDNN makes and keeps a kernel for each shape that it meets: with rows of any length a run's
    resident size grew by half a gigabyte in 40 updates.

    >>> [length + num_filling(length) for length in (5, 350, 1500, 2040)]
    [16, 352, 1504, 2048]
    """
    multiple = max(16, 1 << max(0, length.bit_length() - 6))
    return -length % multiple


def to_device(packed: Packed, device: torch.device) -> Packed:
    """The layout with its tensors on `device`."""
    return replace(
        packed,
        source_positions=packed.source_positions.to(device),
        target_positions=packed.target_positions.to(device),
    )


def _positions(lengths: Tensor) -> Tensor:
    """0, 1, ... restarting with each sequence, (sum of lengths,)."""
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)


def _starts(lengths: Tensor) -> Tensor:
    """Where each sequence begins, and the end of the last, (B + 1,) int32."""
    return F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
