"""Attention of packed sequences: with own kernels where they are, in padded blocks elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.kernels import Kernels, kernels_for
from attuner.models.layout import Bucket, Packed

# The kernel goes through the keys one by one; longer sequences are better off with matrix products.
_LONGEST_FOR_KERNEL = 256


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
    sides = _Sides(asks_source=role == "encoder", sees_source=role != "decoder")
    return _attention(query, key, value, packed, sides, scaling, dropout), None


def packed_encoder_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed: Packed,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`packed_attention` of models that are an encoder and nothing else: all modules are alike.

    Args:
        module: Not used.
        query: (1, H, S, D), all sequences in one row.
        key: (1, H, S, D).
        value: (1, H, S, D).
        attention_mask: Not used: the layout says all.
        scaling: Factor of the scores; 1/√D where None.
        dropout: Share of the weights dropped.
        packed: Where sequences begin and end.
        sliding_window: Tokens this far apart, or further, do not see each other (ModernBERT's
            local layers).

    Returns:
        (1, S, H, D), and None for the weights.
    """
    sides = _Sides(asks_source=True, sees_source=True)
    return _attention(query, key, value, packed, sides, scaling, dropout, sliding_window), None


@dataclass(frozen=True, slots=True)
class _Sides:
    """Which tokens ask, and which they see."""

    asks_source: bool
    sees_source: bool


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: Packed,
    sides: _Sides,
    scaling: float | None,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """Attention by a kernel, or in blocks where a kernel cannot do it; (1, T, H, D)."""
    scaling = scaling or query.shape[-1] ** -0.5
    if window is not None and packed.longest <= window:
        window = None
    # Models that cut query, key and value from one tensor hand strided ones in.
    rows = [row[0].transpose(0, 1).contiguous() for row in (query, key, value)]
    is_for_kernel = packed.longest <= _LONGEST_FOR_KERNEL and window is None
    kernels = kernels_for(*rows) if is_for_kernel else None
    if kernels is None:
        return _in_blocks(query, key, value, packed, sides, scaling, dropout, window)
    starts = tuple(
        packed.source_starts if source else packed.target_starts
        for source in (sides.asks_source, sides.sees_source)
    )
    options = {
        "causal": not sides.sees_source,
        "scale": scaling,
        "dropout": dropout,
        "seed": int(torch.randint(2**31, ())) if dropout else 0,
    }
    output: Tensor = _Native.apply(*rows, kernels, starts, options)  # type: ignore[no-untyped-call]
    return output[None]


class _Native(torch.autograd.Function):
    """The kernels' attention: (T, H, D) queries, (S, H, D) keys and values → (T, H, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kernels: Kernels,
        starts: tuple[Tensor, Tensor],
        options: dict[str, Any],
    ) -> Tensor:
        output, norms = kernels.attention_forward(query, key, value, *starts, **options)
        ctx.save_for_backward(query, key, value, output, norms)
        ctx.kernels, ctx.starts, ctx.options = kernels, starts, options
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.kernels.attention_backward(
            grad.contiguous(), *ctx.saved_tensors, *ctx.starts, **ctx.options
        )
        return (*grads, None, None, None)


def _in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: Packed,
    sides: _Sides,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Attention bucket by bucket, each padded to its own longest sequence."""
    outputs = []
    for bucket in packed.buckets:
        ask = _side(bucket, sides.asks_source)
        see = _side(bucket, sides.sees_source)
        q = _block(query, bucket.num, *ask)
        k = _block(key, bucket.num, *see)
        v = _block(value, bucket.num, *see)
        hidden = bucket.source_is_pad if sides.sees_source else bucket.is_future
        if window is not None:
            places = torch.arange(bucket.source_length, device=hidden.device)
            hidden = hidden | ((places[:, None] - places).abs() >= window)
        block = _attend(q, k, v, hidden, scaling, dropout)
        outputs.append(_Unpad.apply(block.transpose(1, 2).flatten(0, 1), ask[1]))  # type: ignore[no-untyped-call]
    num_filled = query.shape[2] - sum(len(output) for output in outputs)
    outputs.append(outputs[0].new_zeros(num_filled, *outputs[0].shape[1:]))
    return torch.cat(outputs)[None].to(query.dtype)


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
