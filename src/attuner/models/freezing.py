"""Freezing parts of a model: their weights stay as they are while the others learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from attuner.errors import ModelError
from attuner.models.classifiers import is_on_top


def freeze(model: nn.Module, parts: Sequence[str]) -> bool:
    """Freeze parts of an encoder-decoder model, or of a classifier, whose head always learns.

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
    if not source.config.is_encoder_decoder:
        _freeze_classifier(source, parts)
        return False
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


def _freeze_classifier(model: Any, parts: Sequence[str]) -> None:
    embeddings = {*model.base_model.get_input_embeddings().parameters()}
    for name, parameter in model.named_parameters():
        part = "embeddings" if parameter in embeddings else "encoder"
        if part in parts and not is_on_top(model, name):
            parameter.requires_grad_(False)
