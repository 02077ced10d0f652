"""Random weights of new models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import FAMILIES, PAD
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from attuner.models.loading import new_seq2seq

IDS = {"pad_token_id": PAD, "eos_token_id": 0}


def new(family: str, **settings: Any) -> Any:
    return new_seq2seq({**FAMILIES[family], **IDS, **settings}, seed=1)


def test_marian_s_weights_are_those_of_the_paper() -> None:
    model = new("marian", d_model=64, vocab_size=2000)
    embedding, matrix = model.model.shared.weight, model.model.encoder.layers[0].fc1.weight
    assert embedding[PAD + 1 :].std().item() == pytest.approx(64**-0.5, rel=0.02)
    bound = (6 / sum(matrix.shape)) ** 0.5
    assert 0.9 * bound < matrix.abs().max().item() <= bound
    assert not embedding[PAD].any()
    assert embedding[:PAD].any(dim=1).all()
    assert model.lm_head.weight is embedding
    positions = model.model.encoder.embed_positions.weight
    assert positions[0].tolist() == [0.0] * 32 + [1.0] * 32  # sines, then cosines


def test_both_zero_rows_where_decoding_starts_from_another_token() -> None:
    embedding = new("marian", decoder_start_token_id=7).model.shared.weight
    assert [row for row in range(60) if not embedding[row].any()] == [PAD, 7]


def test_marian_generates_as_published_checkpoints_do() -> None:
    settings = new("marian").generation_config
    assert (settings.num_beams, settings.max_length) == (4, 64)
    assert settings.bad_words_ids == [[PAD]]
    assert (settings.forced_eos_token_id, settings.eos_token_id) == (0, 0)
    assert (settings.pad_token_id, settings.decoder_start_token_id) == (PAD, PAD)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_other_families_keep_the_weights_of_transformers(family: str) -> None:
    torch.manual_seed(1)
    config = AutoConfig.for_model(**FAMILIES[family], **IDS)
    theirs = AutoModelForSeq2SeqLM.from_config(config).state_dict()
    ours = new(family).state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
