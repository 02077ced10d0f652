"""Freezing parts of a model: their weights stay as they are while the others learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from attuner.errors import ModelError


def freeze(model: nn.Module, parts: Sequence[str]) -> bool:
    """Freeze parts of an encoder-decoder model.

    Token embeddings belong to `embeddings` alone, whichever stack holds them.

    Args:
        model: A model of transformers.
        parts: Some of `embeddings`, `encoder` and `decoder`.

    Returns:
        Whether the output layer is frozen with the embeddings, whose weights it shares.

    Raises:
        ModelError: Nothing is left to train.
    """
    source: Any = model
    stacks = {"encoder": source.get_encoder(), "decoder": source.get_decoder()}
    embeddings = {
        parameter
        for holder in (source, *stacks.values())
        for parameter in holder.get_input_embeddings().parameters()
    }
    for part in parts:
        chosen = embeddings if part == "embeddings" else {*stacks[part].parameters()} - embeddings
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(
            f"model.freeze={', '.join(parts)}: nothing of this model is left to train.",
            "Its output layer shares the weights of the embeddings.",
            "Leave one of them out of model.freeze.",
        )
    return not source.get_output_embeddings().weight.requires_grad
