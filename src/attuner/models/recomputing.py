"""Gradient checkpointing: a layer's activations are made again for the backward pass, not kept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from attuner.errors import ModelError
from attuner.models.dropout import FastDropout


def recompute_layers(model: nn.Module) -> None:
    """Let a model keep the input of each layer only while it trains (Chen et al. 2016).

    Raises:
        ModelError: Its family has no layers that can be recomputed.
    """
    source: Any = model
    # Later versions of transformers have renamed it, and warn of the old name.
    renamed = getattr(source, "activation_checkpointing_enable", None)
    enable = renamed or source.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False, "context_fn": _contexts})
    except ValueError as error:
        raise ModelError(
            f"training.gradient_checkpointing: {source.config.model_type} models have none.",
            "Expected a model whose layers can be computed again for the backward pass.",
            "Leave the option out, and save memory with training.accumulation=4 instead.",
        ) from error


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts of a layer's forward, and of its repetition.

    The loss runs in `FastDropout`, the backward pass does not: without it a repetition would draw
    other masks from the same random state.
    """
    return nullcontext(), FastDropout()
