"""Packing for classifiers: many texts in one row of an encoder, through transformers' own hooks.

Linear layers and norms work on real tokens only; attention keeps texts apart by the layout that
travels through the model's keyword arguments, and positions restart with each text. What the head
reads of a text, its first token or the mean of its tokens, is gathered from the row by hooks, so
that no model code is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.models.attention import packed_encoder_attention
from attuner.models.layout import Packed, num_filling

ATTENTION = "attuner_packed_encoder"

# Families whose positions can be passed in and whose head reads one vector a text, by the
# configuration's `model_type`; the number is what is added to a position. RoBERTa counts from
# the one behind the pad token's id on (Liu et al. 2019, as fairseq has it): see `first_position`.
_COUNTS_FROM_PAD = ("roberta", "xlm-roberta", "camembert")
PACKABLE = ("bert", "distilbert", "electra", "modernbert", *_COUNTS_FROM_PAD)


def can_pack(model: nn.Module) -> bool:
    """Whether many texts can share a row of this classifier."""
    config: Any = model.config
    return config.model_type in PACKABLE and not getattr(config, "is_decoder", False)


def first_position(config: Any) -> int:
    """The position of a text's first token, as the family counts."""
    return config.pad_token_id + 1 if config.model_type in _COUNTS_FROM_PAD else 0


def longest_input(config: Any) -> int | None:
    """The most tokens that the model has positions for; None where it has no such limit.

    >>> from types import SimpleNamespace
    >>> longest_input(SimpleNamespace(model_type="roberta", pad_token_id=1,
    ...                               max_position_embeddings=514))
    512
    """
    longest = getattr(config, "max_position_embeddings", None)
    return None if longest is None or longest <= 0 else int(longest) - first_position(config)


@contextmanager
def encoder_packing(model: nn.Module) -> Iterator[None]:
    """Let a classifier take packed rows: `model(input_ids, position_ids=..., packed=layout)`.

    `input_ids` and `position_ids` are (1, N); the logits are (B, C). Without `packed=` inside the
    block the model fails rather than mix texts. On leaving, the model is as it was.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, packed_encoder_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    before = model.config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation(ATTENTION)  # type: ignore[operator]
    hooks = _gather_what_the_head_reads(model)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation(before)  # type: ignore[operator]


def _gather_what_the_head_reads(model: nn.Module) -> list[Any]:
    """Hooks that make a row of texts, (1, N, D), one vector a text, (B', 1, D), for the head.

    B' is B filled up to a number that comes again, for oneDNN's sake: see `num_filling`.
    """
    call: dict[str, Packed] = {}
    base: Any = model.base_model
    takes_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
    gather: Callable[[Tensor, Packed], Tensor] = _means if takes_mean else _firsts

    def remember(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call["packed"] = kwargs["packed"]

    def for_pooler(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (gather(args[0], call["packed"]),)

    def for_head(_: nn.Module, __: Any, output: Any) -> Any:
        output.last_hidden_state = gather(output.last_hidden_state, call["packed"])
        return output

    def leave_filling_out(_: nn.Module, __: Any, output: Any) -> Any:
        output.logits = output.logits[: len(call.pop("packed").source_lengths)]
        return output

    pooler = getattr(base, "pooler", None)
    return [
        model.register_forward_pre_hook(remember, with_kwargs=True),
        pooler.register_forward_pre_hook(for_pooler)
        if pooler is not None
        else base.register_forward_hook(for_head),
        model.register_forward_hook(leave_filling_out),
    ]


def _firsts(hidden: Tensor, packed: Packed) -> Tensor:
    """The first token of each text: (1, N, D) → (B', 1, D)."""
    starts = packed.source_starts[:-1].long()
    starts = F.pad(starts, (0, num_filling(len(starts)))).to(hidden.device)
    return hidden[0].index_select(0, starts)[:, None]


def _means(hidden: Tensor, packed: Packed) -> Tensor:
    """The mean of each text's tokens: (1, N, D) → (B', 1, D)."""
    lengths = packed.source_lengths.to(hidden.device)
    num = len(lengths) + num_filling(len(lengths))
    texts = torch.arange(len(lengths), device=hidden.device).repeat_interleave(lengths)
    sums = hidden.new_zeros(num, hidden.shape[-1]).index_add(0, texts, hidden[0, : len(texts)])
    counts = F.pad(lengths, (0, num - len(lengths)), value=1)
    return (sums / counts[:, None].to(sums.dtype))[:, None]
