"""Tiny classifiers with random weights, of many families, and features to run through them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertTokenizer

from attuner.data.features import LabelledTexts, TokenColumn

VOCABULARY, PAD = 60, 1

_BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 66, "type_vocab_size": 2,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": PAD,
}  # fmt: skip
_DECODER = {**_BERT, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 2}
_MODERN = {
    **_BERT, "num_hidden_layers": 4, "attention_dropout": 0.0, "mlp_dropout": 0.0,
    "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
# By a name: model_type, and its configuration.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", _BERT),
    "distilbert": (
        "distilbert",
        {
            "vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
            "max_position_embeddings": 64, "dropout": 0.0, "attention_dropout": 0.0,
            "seq_classif_dropout": 0.0, "pad_token_id": PAD,
        },
    ),
    "roberta": ("roberta", {**_BERT, "type_vocab_size": 1}),
    "xlm-roberta": ("xlm-roberta", {**_BERT, "type_vocab_size": 1}),
    "electra": ("electra", {**_BERT, "embedding_size": 16, "summary_last_dropout": 0.0}),
    "modernbert": ("modernbert", {**_MODERN, "local_attention": 128}),
    # Its local layers see 4 tokens to each side, its head the mean of all tokens.
    "modernbert, local": (
        "modernbert", {**_MODERN, "local_attention": 8, "classifier_pooling": "mean"}
    ),
    "deberta-v2": (
        "deberta-v2",
        {
            **_BERT, "relative_attention": True, "position_buckets": 8, "type_vocab_size": 0,
            "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
            "pooler_dropout": 0.0, "position_biased_input": False,
        },
    ),
    "gpt2": (
        "gpt2",
        {
            "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "pad_token_id": PAD,
            "bos_token_id": 0, "eos_token_id": 2,
        },
    ),
    "llama": ("llama", _DECODER),
}  # fmt: skip
PACKED = ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "modernbert",
          "modernbert, local")  # fmt: skip
HAVE_TYPES = ("bert", "electra")


def tiny_classifier(
    family: str = "bert", *, num_labels: int = 3, seed: int = 0, **more: Any
) -> Any:
    """A classifier in fp32 and evaluation mode, whose logits differ between texts."""
    model_type, settings = FAMILIES[family]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **{**settings, **more}, num_labels=num_labels)
    model = AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():  # transformers' own are so small that all logits are alike
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def tiny_texts(
    num: int = 24,
    *,
    longest: int = 40,
    num_labels: int = 3,
    with_types: bool = False,
    seed: int = 0,
) -> LabelledTexts:
    """Random texts of 2 to `longest` tokens, each with one label."""
    random = np.random.default_rng(seed)
    rows = [random.integers(3, VOCABULARY, random.integers(2, longest + 1)) for _ in range(num)]
    types = [np.arange(len(row)) >= len(row) // 2 for row in rows]
    return LabelledTexts(
        TokenColumn.from_lists([[0, *row[1:].tolist()] for row in rows]),
        TokenColumn.from_lists([row.astype(int).tolist() for row in types]) if with_types else None,
        random.integers(0, num_labels, num),
        np.ones(num),
        np.arange(num),
    )


WORDS = (
    "good", "bad", "fine", "poor", "film", "book", "the", "a", "is", "not", "very", "so", ".",
    ",", "!", "?", "it", "was", "red", "blue",
)  # fmt: skip


def write_encoder(folder: Path, *, hidden_size: int = 32) -> Path:
    """A folder with a BERT encoder without a head, and a tokenizer of a few words."""
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    BertTokenizer({name: place for place, name in enumerate(names)}).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 64
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    shape = {**_BERT, "vocab_size": len(names), "hidden_size": hidden_size, "pad_token_id": 0}
    BertModel(BertConfig(**shape)).save_pretrained(folder)
    return folder


def reviews(path: Path, num: int = 48, seed: int = 0) -> Path:
    """Texts that are good or bad by a word in them."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "mood", "stars", "tags"])
        for row in range(num):
            mood = ("bad", "good")[row % 2]
            others = random.choice(WORDS[4:], random.integers(2, 7))
            colour = [w for w in ("red", "blue") if w in others]
            text = " ".join(random.permutation([mood, *others]))
            writer.writerow([text, mood, 1 + 4 * (row % 2), ",".join([mood, *colour])])
    return path
