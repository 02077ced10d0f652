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
from typing import Any

from torch import Tensor, nn

from attuner.models.attention import packed_attention
from attuner.models.families import family_of
from attuner.models.layout import Packed

ATTENTION = "attuner_packed"


def can_pack(model: nn.Module) -> bool:
    """Whether positions can be passed into this model, as packing needs."""
    return family_of(str(model.config.model_type)).is_packable  # type: ignore[union-attr]


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
