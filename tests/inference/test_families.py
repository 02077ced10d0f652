"""Both engines give the same for each family that CTranslate2 converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attuner.inference.conversion import CONVERTIBLE
from attuner.inference.ctranslate2_engine import engine_from_model
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import TransformersCodec, load_codec
from attuner.models.loading import load_seq2seq

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "fr_XX", *(f"w{i}" for i in range(45))]
LINES = [" ".join(f"w{(i * j + 3) % 45}" for j in range(1 + i % 7)) for i in range(12)]

_TOKENS = {
    "vocab_size": len(WORDS),
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.3,  # large weights: clear preferences
}
_T5 = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "initializer_factor": 3.0,
}


def write_folder(family: str, folder: Path, *, forced_bos_token_id: int | None) -> None:
    """A model of the family with random weights and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = _T5 if family in ("t5", "mt5") else _BART
    config = AutoConfig.for_model(family, **sizes, **_TOKENS)
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.generation_config.forced_bos_token_id = forced_bos_token_id
    if forced_bos_token_id is None:
        model.generation_config.bad_words_ids = [[7], [8, 9]]
    model.save_pretrained(folder)


@pytest.mark.parametrize("forced_bos_token_id", [None, 4])
@pytest.mark.parametrize("family", sorted(set(CONVERTIBLE) - {"marian"}))
def test_engines_agree(family: str, forced_bos_token_id: int | None, tmp_path: Path) -> None:
    write_folder(family, tmp_path, forced_bos_token_id=forced_bos_token_id)
    codec, model = load_codec(tmp_path), load_seq2seq(tmp_path)
    assert isinstance(codec, TransformersCodec)
    reference, fast = TransformersEngine(model, codec), engine_from_model(model, codec)
    expected = reference.generate(LINES, num_beams=1, max_new_tokens=12)
    made = fast.generate(LINES, num_beams=1, max_new_tokens=12)
    assert [m[0].token_ids for m in made] == [e[0].token_ids for e in expected]
    if forced_bos_token_id is not None:
        assert all(e[0].token_ids[0] == forced_bos_token_id for e in expected)
        # Equal choices can come from outputs of another scale; equal scores cannot. (Banned
        # words would blur this: transformers leaves them in the softmax.)
        scores = [e[0].score for e in expected]
        assert [m[0].score for m in made] == pytest.approx(scores, abs=0.01)
