"""Packing: many sequences in one row, no padding, through transformers' own hooks.

All source tokens of a micro-batch lie in one row, all target tokens in another. Linear layers,
norms and the loss then work on real tokens only. Attention is told where sequences begin and
end by a `Packed` layout, which travels through the model's keyword arguments to the attention
function registered here. Positions restart with each sequence: a hook on the position
embedding passes them in. No model code is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTION = "attuner_packed"

# Rows are filled up to a multiple of this. oneDNN makes and keeps a kernel for each shape that it
# meets: with rows of any length a run's resident size grew by half a gigabyte in 40 updates.
ROW_MULTIPLE = 64

# Families whose position embedding takes `position_ids`, so that positions can restart.
PACKABLE = frozenset({"marian"})


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


@dataclass(frozen=True, slots=True)
class Packed:
    """Where sequences begin and end in the packed rows.

    Attributes:
        source_positions: Position of each source token in its sequence, (1, S); 0 where the row
            is filled up.
        target_positions: Position of each target token in its sequence, (1, T); likewise.
        buckets: Sequences of like length, in the order of the rows.
    """

    source_positions: Tensor
    target_positions: Tensor
    buckets: tuple[Bucket, ...]


def layout(source_lengths: Tensor, target_lengths: Tensor) -> Packed:
    """The layout of sequences that lie in the packed rows in this order.

    Sequences should be sorted by length: a bucket is a run of neighbours whose longest side
    falls between the same two of 8, 12, 16, 24, 32, 48, ... tokens.

    Args:
        source_lengths: Source tokens of each sequence, (B,), int64, on the CPU.
        target_lengths: Target tokens of each sequence, (B,), int64, on the CPU.
    """
    source_positions = _positions(source_lengths)
    target_positions = _positions(target_lengths)
    steps = torch.tensor([b for e in range(3, 30) for b in (2**e, 3 * 2 ** (e - 1))])
    size = torch.bucketize(torch.maximum(source_lengths, target_lengths), steps)
    cuts = [0, *(torch.nonzero(size.diff()).view(-1) + 1).tolist(), len(size)]
    buckets = []
    source_start = target_start = 0
    for first, last in pairwise(cuts):
        sources, targets = source_lengths[first:last], target_lengths[first:last]
        source = slice(source_start, source_start + int(sources.sum()))
        target = slice(target_start, target_start + int(targets.sum()))
        s, t = int(sources.max()), int(targets.max())
        rows = torch.arange(last - first)
        buckets.append(
            Bucket(
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
        )
        source_start, target_start = source.stop, target.stop
    return Packed(
        filled_up(source_positions, 0)[None], filled_up(target_positions, 0)[None], tuple(buckets)
    )


def filled_up(row: Tensor, fill: int) -> Tensor:
    """A packed row, (N,), filled up to a multiple of `ROW_MULTIPLE`."""
    return F.pad(row, (0, -len(row) % ROW_MULTIPLE), value=fill)


def to_device(packed: Packed, device: torch.device) -> Packed:
    """The layout with its tensors on `device`."""
    if device.type == "cpu":
        return packed
    tensors = ("source_index", "target_index", "source_is_pad", "is_future")
    buckets = (
        replace(bucket, **{name: getattr(bucket, name).to(device) for name in tensors})
        for bucket in packed.buckets
    )
    return Packed(
        packed.source_positions.to(device), packed.target_positions.to(device), tuple(buckets)
    )


def _positions(lengths: Tensor) -> Tensor:
    """0, 1, ... restarting with each sequence, (sum of lengths,)."""
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)


class _Pad(torch.autograd.Function):
    """(N, H, D) tokens → (B·L, H, D) with zeros between; its gradient picks them out again."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return tokens.new_zeros(size, *tokens.shape[1:]).index_copy_(0, index, tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Unpad(torch.autograd.Function):
    """The reverse of `_Pad`: plain indexing, whose own gradient would add up, slowly."""

    @staticmethod
    def forward(ctx: Any, block: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = block.shape[0]
        return block.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, index, grad), None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed: Packed,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention in which no sequence sees another; an attention function of transformers.

    Args:
        module: The attention module; `module.attuner_role` says what attends to what.
        query: (1, H, T, D), all sequences in one row.
        key: (1, H, S, D).
        value: (1, H, S, D).
        attention_mask: Not used: the layout says all.
        scaling: Factor of the scores; 1/√D where None.
        dropout: Share of the weights dropped.
        packed: Where sequences begin and end.

    Returns:
        (1, T, H, D), and None for the weights.
    """
    role = module.attuner_role
    outputs = []
    for bucket in packed.buckets:
        asks_source = role == "encoder"
        sees_source = role != "decoder"
        ask = _side(bucket, asks_source)
        see = _side(bucket, sees_source)
        q = _block(query, bucket.num, *ask)
        k = _block(key, bucket.num, *see)
        v = _block(value, bucket.num, *see)
        hidden = bucket.source_is_pad if sees_source else bucket.is_future
        block = _attend(q, k, v, hidden, scaling or q.shape[-1] ** -0.5, dropout)
        outputs.append(_Unpad.apply(block.transpose(1, 2).flatten(0, 1), ask[1]))  # type: ignore[no-untyped-call]
    num_filled = query.shape[2] - sum(len(output) for output in outputs)
    outputs.append(outputs[0].new_zeros(num_filled, *outputs[0].shape[1:]))
    return torch.cat(outputs)[None].to(query.dtype), None


def _side(bucket: Bucket, source: bool) -> tuple[slice, Tensor, int]:
    """The bucket's tokens on one side: where they lie, their places, the block's length."""
    if source:
        return bucket.source, bucket.source_index, bucket.source_length
    return bucket.target, bucket.target_index, bucket.target_length


def _block(row: Tensor, num: int, where: slice, index: Tensor, length: int) -> Tensor:
    """(1, H, N, D) packed → (b, H, L, D) padded block of one bucket."""
    tokens = row[0].transpose(0, 1)[where]
    padded: Tensor = _Pad.apply(tokens, index, num * length)  # type: ignore[no-untyped-call]
    return padded.view(num, length, *tokens.shape[1:]).transpose(1, 2)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, scaling: float, dropout: float
) -> Tensor:
    """Attention of padded blocks, (b, H, L, D) each; `hidden` places get no weight.

    On a processor the backward of SDPA is slow, and oneDNN would make a bf16 kernel for each shape
    of block: two matrix products in fp32 and a softmax are faster, and these blocks are small.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=~hidden, dropout_p=dropout, scale=scaling
        )
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul(q.float() * scaling, k.float().transpose(2, 3))
        weights = scores.masked_fill(hidden, torch.finfo(torch.float32).min).softmax(-1)
        if dropout:
            weights = F.dropout(weights, dropout)
        return torch.matmul(weights, v.float())


def can_pack(model: nn.Module) -> bool:
    """Whether positions can be passed into this model, as packing needs."""
    return model.config.model_type in PACKABLE  # type: ignore[union-attr,operator]


@contextmanager
def packing(model: nn.Module) -> Iterator[None]:
    """Let `model` take packed rows: `model(input_ids, decoder_input_ids, packed=layout)`.

    Without `packed=` inside the block the model fails rather than mix sequences. On leaving, the
    model is as it was.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    before = model.config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation(ATTENTION)  # type: ignore[operator]
    hooks = []
    for stack, is_encoder in ((model.get_encoder(), True), (model.get_decoder(), False)):  # type: ignore[operator]
        for name, module in stack.named_modules():
            if name.endswith("attn"):
                crosses = name.endswith(("encoder_attn", "cross_attn"))
                module.attuner_role = "encoder" if is_encoder else "cross" if crosses else "decoder"
        hooks += _restart_positions(stack, is_encoder)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation(before)  # type: ignore[operator]


def _restart_positions(stack: nn.Module, is_encoder: bool) -> list[Any]:
    """Hooks that carry the layout's positions from a stack's call to its position embedding."""
    current: dict[str, Tensor] = {}

    def remember(_: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
        packed: Packed = kwargs["packed"]
        current["ids"] = packed.source_positions if is_encoder else packed.target_positions

    def pass_on(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "position_ids": current["ids"]}

    return [
        stack.register_forward_pre_hook(remember, with_kwargs=True),
        stack.embed_positions.register_forward_pre_hook(pass_on, with_kwargs=True),  # type: ignore[union-attr]
    ]
