"""Tiny models with random weights, of several families, and features to run through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from attuner.data.features import SequencePairs, TokenColumn

VOCABULARY = 60
PAD = 3

SHAPE = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "scale_embedding": True,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "marian": {**SHAPE, "decoder_start_token_id": PAD},
    "bart": {**SHAPE, "decoder_start_token_id": 0},
    "t5": {
        "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
        "num_heads": 4, "dropout_rate": 0.0, "decoder_start_token_id": PAD,
    },
}  # fmt: skip


def tiny_model(family: str = "marian", *, dropout: float = 0.0, seed: int = 0) -> Any:
    """A model in fp32 and evaluation mode, its output bias and pad row not zero."""
    torch.manual_seed(seed)
    settings = {"pad_token_id": PAD, "eos_token_id": 0, **FAMILIES[family]}
    if family != "t5":
        settings |= {"dropout": dropout, "attention_dropout": dropout}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, **settings))
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(std=0.5)
    return model.eval()


def tiny_features(num: int = 40, *, longest: int = 20, seed: int = 0) -> SequencePairs:
    """Random sequences of 1 to `longest` tokens on each side."""
    random = np.random.default_rng(seed)

    def column() -> TokenColumn:
        return TokenColumn.from_lists(
            [
                [*random.integers(4, VOCABULARY, random.integers(0, longest)).tolist(), 0]
                for _ in range(num)
            ]
        )

    return SequencePairs(column(), column(), np.arange(num), np.ones(num))
