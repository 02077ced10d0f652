"""Packing: many sequences in one row, no padding, through transformers' own hooks.

All source tokens of a micro-batch lie in one row, all target tokens in another. Linear layers,
norms and the loss then work on real tokens only. Attention is told where sequences begin and
end by a `Packed` layout, which travels through the model's keyword arguments to the attention
function registered here. Positions restart with each sequence: hooks on the position embedding
see to it. No model code is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.models.attention import packed_attention
from attuner.models.families import Family, family_of
from attuner.models.layout import Packed

ATTENTION = "attuner_packed"


def can_pack(model: nn.Module) -> bool:
    """Whether positions can restart within a row of this model, as packing needs."""
    return _family(model).is_packable


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
    hooks: list[Any] = []
    attentions: list[Any] = []
    for stack, is_encoder in ((model.get_encoder(), True), (model.get_decoder(), False)):  # type: ignore[operator]
        for name, module in stack.named_modules():
            if name.endswith("attn"):
                crosses = name.endswith(("encoder_attn", "cross_attn"))
                module.attuner_role = "encoder" if is_encoder else "cross" if crosses else "decoder"
                attentions.append(module)
        hooks += _restart_positions(stack, is_encoder, _family(model))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in attentions:
            del module.attuner_role
        model.set_attn_implementation(before)  # type: ignore[operator]


@contextmanager
def positions_like_words(model: nn.Module) -> Iterator[None]:
    """Give position embeddings the type of word embeddings, in padded batches.

    M2M100's are a buffer of fp32, beside which bf16 copies of the weights would not do.
    """

    def cast(stack: Any) -> Any:
        def hook(_: nn.Module, __: Any, positions: Tensor) -> Tensor:
            return positions.to(stack.embed_tokens.weight.dtype)

        return hook

    stacks = (model.get_encoder(), model.get_decoder())  # type: ignore[operator]
    hooks = [
        stack.embed_positions.register_forward_hook(cast(stack))
        for stack in stacks
        if _family(model).positions == "counted"
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _family(model: Any) -> Family:
    return family_of(str(model.config.model_type))


def _restart_positions(stack: Any, is_encoder: bool, family: Family) -> list[Any]:
    """Hooks that carry the layout from a stack's call to its position embedding."""
    call: dict[str, Any] = {}

    def remember(_: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
        packed: Packed = kwargs["packed"]
        call["longest"] = packed.longest
        call["positions"] = (packed.source_positions if is_encoder else packed.target_positions)[0]

    def pass_on(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "position_ids": call["positions"]}

    def ask_for_each(layer: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Ask for the positions of one sequence as long as the longest, none of it padding."""
        ids = args[0]
        call["counts"] = _counts(ids[0] != layer.padding_idx, call["positions"])
        return (ids.new_full((1, call["longest"]), layer.padding_idx + 1),)

    def hand_out(_: nn.Module, __: Any, each: Tensor) -> Tensor:
        table = F.pad(each[0], (0, 0, 1, 0))  # padding, which counts 0, has no position
        # A buffer of fp32, beside which bf16 copies of the weights would not do.
        return table[call["counts"]][None].to(stack.embed_tokens.weight.dtype)

    hooks = [stack.register_forward_pre_hook(remember, with_kwargs=True)]
    if family.positions == "passed":
        hooks.append(stack.embed_positions.register_forward_pre_hook(pass_on, with_kwargs=True))
    else:
        hooks.append(stack.embed_positions.register_forward_pre_hook(ask_for_each))
        hooks.append(stack.embed_positions.register_forward_hook(hand_out))
    return hooks


def _counts(is_real: Tensor, positions: Tensor) -> Tensor:
    """1, 2, ... for the tokens of each sequence that are not padding, 0 for those that are; (N,).

    Args:
        is_real: Which tokens are not the padding token, (N,).
        positions: Position of each in its sequence, (N,).
    """
    real = is_real.long()
    up_to = real.cumsum(0)
    first = torch.arange(len(real), device=real.device) - positions
    return (up_to - (up_to - real)[first]) * real
