"""Tiny models with random weights, of every family, and features to run through them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from attuner.data.features import SequencePairs, TokenColumn
from attuner.models.families import family_of

VOCABULARY = 60
PAD, EOS = 3, 0

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
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
_T5 = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
    "num_heads": 4, "decoder_start_token_id": PAD,
}  # fmt: skip
_GATED = {**_T5, "feed_forward_proj": "gated-gelu"}

# By name: the fields of a transformers configuration.
FAMILIES: dict[str, dict[str, Any]] = {
    "marian": {**SHAPE, "model_type": "marian", "decoder_start_token_id": PAD},
    "marian-two-vocabularies": {
        **SHAPE, "model_type": "marian", "decoder_start_token_id": PAD,
        "vocab_size": VOCABULARY + 10, "decoder_vocab_size": VOCABULARY,
        "share_encoder_decoder_embeddings": False,
    },
    "bart": {**SHAPE, "model_type": "bart", "decoder_start_token_id": EOS},
    "bart-untied": {
        **SHAPE, "model_type": "bart", "decoder_start_token_id": EOS, "tie_word_embeddings": False,
    },
    "pegasus": {**SHAPE, "model_type": "pegasus", "decoder_start_token_id": PAD},
    "mbart": {**SHAPE, "model_type": "mbart", "decoder_start_token_id": EOS},
    "m2m_100": {**SHAPE, "model_type": "m2m_100", "decoder_start_token_id": EOS},
    "t5": {**_T5, "model_type": "t5"},
    "t5-1.1": {**_GATED, "model_type": "t5", "tie_word_embeddings": False},
    "mt5": {**_GATED, "model_type": "mt5"},
    "umt5": {**_GATED, "model_type": "umt5"},
}  # fmt: skip
PACKED = [name for name, fields in FAMILIES.items() if "d_kv" not in fields]


def tiny_model(
    family: str = "marian", *, dropout: float = 0.0, layerdrop: float = 0.0, seed: int = 0
) -> Any:
    """A model in fp32 and evaluation mode, its output bias and pad row not zero."""
    torch.manual_seed(seed)
    settings = {"pad_token_id": PAD, "eos_token_id": EOS, **FAMILIES[family]}
    if family in PACKED:
        rates = ("dropout", "attention_dropout", "activation_dropout")
        settings |= dict.fromkeys(rates, dropout)
        settings |= dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), layerdrop)
    else:
        settings |= {"dropout_rate": dropout}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**settings))
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(std=0.5)
    if family == "t5-1.1":  # transformers ties what the published checkpoints keep apart
        model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, 32) / 5)
    return model.eval()


def with_adapters(model: Any) -> Any:
    """The model frozen, with LoRA beside its linear layers, not zero as at a start."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=4, lora_dropout=0.0, init_lora_weights=False,
        target_modules=list(family_of(model.config.model_type).adapter_targets),
    )  # fmt: skip
    return peft.get_peft_model(model, config)


def tiny_folder(family: str, folder: Path, texts: Iterable[str]) -> None:
    """A model folder whose tokenizer knows the words of these texts, as many as there are ids."""
    words = sorted({word for text in texts for word in text.split()})
    pieces = ["</s>", "<unk>", "<s>", "<pad>", *words, *map(str, range(VOCABULARY))][:VOCABULARY]
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    tiny_model(family).save_pretrained(folder)


def tiny_features(num: int = 40, *, longest: int = 20, seed: int = 0) -> SequencePairs:
    """Random sequences of 1 to `longest` tokens on each side."""
    random = np.random.default_rng(seed)

    def column() -> TokenColumn:
        return TokenColumn.from_lists(
            [
                [*random.integers(4, VOCABULARY, random.integers(0, longest)).tolist(), EOS]
                for _ in range(num)
            ]
        )

    return SequencePairs(column(), column(), np.arange(num), np.ones(num))
