"""Checkpoints that are damaged in each of the ways that need no data to be seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, PAD, VOCABULARY, tiny_model
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from attuner.data.features import TokenColumn
from attuner.errors import ModelError
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq, save_model
from attuner.models.soundness import (
    Finding,
    checkpoint_findings,
    is_tied,
    tie_findings,
    unused_findings,
    used_id_findings,
    weight_findings,
)

Weights = dict[str, torch.Tensor]


@pytest.fixture
def copy(marian: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(marian, tmp_path / "model"))


def spoil(folder: Path, change: Callable[[Weights], object]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def configure(folder: Path, name: str = "config.json", **values: Any) -> None:
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**settings, **values}))


def findings(folder: Path) -> list[str]:
    model = load_seq2seq(folder)
    return [str(found) for found in checkpoint_findings(model, load_codec(folder), folder)]


def put(folder: Path, family: str, **config: Any) -> Any:
    """A tiny model of the family, saved without tokenizer; its output layer as `config` says."""
    alike = "t5" if family in ("mt5", "umt5") else family
    ids = {"pad_token_id": PAD, "eos_token_id": 0}
    settings = {**FAMILIES[alike], **ids, "model_type": family}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**settings)).eval()
    if config.get("tie_word_embeddings") is False:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    configure(folder, **config)
    return model


def test_sound_models_give_no_findings(marian: Path, moved_marian: Path) -> None:
    assert findings(marian) == []
    assert findings(moved_marian) == []
    assert is_tied(load_seq2seq(marian))


UNTIED = (
    "{source} and lm_head.weight are stored with different values, though config.json says that "
    "they are one (tie_word_embeddings).\n"
    "Expected one tensor for both, or a configuration that says that they are two.\n"
    'Set "tie_word_embeddings": false in config.json if they were trained apart; else delete the '
    "wrong one, or download or save the checkpoint again."
)


@pytest.mark.parametrize(
    ("family", "source"),
    [("marian", "model.shared.weight"), ("bart", "model.shared.weight"), ("t5", "shared.weight")],
)
def test_a_tied_output_layer_that_is_stored_with_other_values(
    family: str, source: str, tmp_path: Path
) -> None:
    put(tmp_path, family)
    spoil(tmp_path, lambda w: w.update({"lm_head.weight": w[source].flip(0)}))

    assert [str(f) for f in tie_findings(load_seq2seq(tmp_path), tmp_path)] == [
        UNTIED.format(source=source)
    ]


def test_an_output_layer_stored_twice_with_the_same_values_is_sound(copy: Path) -> None:
    spoil(copy, lambda w: w.update({"lm_head.weight": w["model.shared.weight"].clone()}))
    assert findings(copy) == []


@pytest.mark.parametrize("family", ["t5", "mt5", "umt5"])
def test_a_t5_with_an_output_layer_of_its_own_is_sound_and_stays_so(
    family: str, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    made = put(tmp_path, family, tie_word_embeddings=False)
    configure(tmp_path, scale_decoder_outputs=None) if family == "t5" else None
    model = load_seq2seq(tmp_path)
    save_model(model, tmp_path, tmp_path / "new")
    again = load_seq2seq(tmp_path / "new")

    assert list(tie_findings(model, tmp_path)) == list(tie_findings(again, tmp_path / "new")) == []
    assert not is_tied(again)
    assert json.loads((tmp_path / "new/config.json").read_text())["tie_word_embeddings"] is False
    ids = torch.tensor([[5, 6, 0]])
    state = model.get_encoder()(ids)[0]
    hidden = model.get_decoder()(input_ids=ids, encoder_hidden_states=state)[0]
    logits = hidden @ made.lm_head.weight.T  # not scaled: that goes with tied weights
    for one in (model, again):
        assert torch.allclose(one(input_ids=ids, decoder_input_ids=ids).logits, logits, atol=1e-5)


def test_an_mt5_saved_by_transformers_5_is_sound_though_its_configuration_says_tied(
    tmp_path: Path,
) -> None:
    put(tmp_path, "mt5", tie_word_embeddings=False)
    configure(tmp_path, tie_word_embeddings=True)
    assert list(tie_findings(load_seq2seq(tmp_path), tmp_path)) == []


def test_an_untied_t5_that_lacks_its_output_layer(tmp_path: Path) -> None:
    put(tmp_path, "mt5", tie_word_embeddings=False)
    spoil(tmp_path, lambda w: w.pop("lm_head.weight"))

    assert [str(f) for f in tie_findings(load_seq2seq(tmp_path), tmp_path)] == [
        "config.json says that the output layer has weights of its own (tie_word_embeddings is "
        "false), but the checkpoint stores none: the embeddings took their place.\n"
        "Expected a checkpoint that stores the weights of its output layer.\n"
        "Download or save the checkpoint again. If the model does share them, set "
        '"tie_word_embeddings": true in config.json.'
    ]


def test_an_untied_bart_that_stores_one_tensor(tmp_path: Path) -> None:
    put(tmp_path, "bart")
    configure(tmp_path, tie_word_embeddings=False)
    with pytest.raises(ModelError) as caught:
        load_seq2seq(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}: 3 weights are missing, lm_head.weight first.\n"
        "Expected them all, for config.json says that the embeddings and the output layer are "
        "weights of their own (tie_word_embeddings is false).\n"
        'Set "tie_word_embeddings": true in config.json if the model shares them; else download '
        "or save the checkpoint again."
    )


def test_weights_of_another_shape(copy: Path) -> None:
    size = load_file(copy / "model.safetensors")["model.shared.weight"].shape[0]
    configure(copy, vocab_size=size + 2)
    with pytest.raises(ModelError) as caught:
        load_seq2seq(copy)

    assert str(caught.value) == (
        f"{copy}: 2 weights have other shapes than config.json says, final_logits_bias first: "
        f"(1, {size}).\n"
        f"Expected (1, {size + 2}).\n"
        "Take the configuration that belongs to the weights: vocab_size, d_model and the like "
        "must be theirs."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(copy: Path, value: float) -> None:
    spoil(copy, lambda w: w["model.encoder.layers.0.fc1.weight"][3].fill_(value))

    assert findings(copy) == [
        "1 weight holds numbers that are not finite, model.encoder.layers.0.fc1.weight first.\n"
        "Expected finite numbers: such a model computes nothing but NaN.\n"
        "Download or save the checkpoint again. If its training overflowed, take an earlier "
        "checkpoint."
    ]


def test_matrices_that_are_zero_are_suspicious(copy: Path) -> None:
    def zero(weights: Weights) -> None:
        for name in ("fc1.weight", "fc1.bias", "fc2.weight"):
            weights[f"model.decoder.layers.0.{name}"].zero_()

    spoil(copy, zero)
    (found,) = weight_findings(load_seq2seq(copy))
    assert str(found) == (
        "2 weight matrices are zero throughout, model.decoder.layers.0.fc1.weight first.\n"
        "Expected numbers: a matrix that was trained is not zero.\n"
        "Download or save the checkpoint again. If its makers meant it so, go on."
    )
    assert not found.is_certain


def test_weights_that_the_model_does_not_take_are_counted(copy: Path) -> None:
    configure(copy, decoder_layers=0)
    stored = load_file(copy / "model.safetensors")
    unused = sorted(name for name in stored if name.startswith("model.decoder.layers.0"))
    (found,) = unused_findings(load_seq2seq(copy), copy)

    assert str(found) == (
        f"The checkpoint stores {len(unused)} weights that the model does not take, {unused[0]} "
        "first.\n"
        "Expected the layers and names that config.json describes.\n"
        "If the model has more layers or is of another type, mend config.json; else go on: what "
        "is not taken is left out."
    )
    assert not found.is_certain


def test_weights_stored_without_the_prefix_are_taken(tmp_path: Path) -> None:
    model = tiny_model("bart")
    model.model.save_pretrained(tmp_path)  # without output layer
    assert list(unused_findings(load_seq2seq(tmp_path), tmp_path)) == []


def test_an_additional_weight_is_named(copy: Path) -> None:
    spoil(copy, lambda w: w.update({"classifier.weight": torch.ones(2, 2)}))
    (found,) = unused_findings(load_seq2seq(copy), copy)
    assert found.happened == (
        "The checkpoint stores 1 weight that the model does not take, classifier.weight first."
    )


WRONG_IDS: dict[str, tuple[Mapping[str, Any], str]] = {
    "out of range": (
        {
            "config.json": {"decoder_start_token_id": 700},
            "generation_config.json": {"decoder_start_token_id": None},
        },
        "config.json: decoder_start_token_id is 700, the model has {size} tokens.\n"
        "Expected an id from 0 to {last}.\n"
        "Set decoder_start_token_id to the id that the tokenizer has for it.",
    ),
    "forced": (
        {"generation_config.json": {"forced_bos_token_id": -1}},
        "generation_config.json: forced_bos_token_id is -1, the model has {size} tokens.\n"
        "Expected an id from 0 to {last}.\n"
        "Set forced_bos_token_id to the id that the tokenizer has for it.",
    ),
    "another end": (
        {"config.json": {"eos_token_id": 1}, "generation_config.json": {"eos_token_id": [1, 2]}},
        "The tokenizer ends texts with id 0, the model with 1, 2 (eos_token_id).\n"
        "Expected the same id: what the model is taught to end with would not stop it.\n"
        "Take the tokenizer that belongs to the checkpoint, or set eos_token_id in config.json "
        "and generation_config.json.",
    ),
    "another padding": (
        {"config.json": {"pad_token_id": 1}},
        "The tokenizer pads with id {last}, the model with 1 (pad_token_id).\n"
        "Expected the same id.\n"
        "Take the tokenizer that belongs to the checkpoint, or set pad_token_id in config.json.",
    ),
    "an ordinary token forced": (
        {"generation_config.json": {"forced_bos_token_id": 20}},
        'forced_bos_token_id is 20, which the tokenizer writes as "{text}".\n'
        "Expected a special token, such as the padding, the end or a language.\n"
        "Set forced_bos_token_id to what the model was trained with, or take the tokenizer that "
        "belongs to the checkpoint.",
    ),
    "two starts": (
        {"config.json": {"decoder_start_token_id": 0}},
        "config.json and generation_config.json name different tokens to begin with "
        "(decoder_start_token_id): 0, {last}.\n"
        "Expected the same id: the model is trained with the first file's, and used with the "
        "second's.\n"
        "Set decoder_start_token_id in both to what the model was trained with.",
    ),
}


@pytest.mark.parametrize("case", WRONG_IDS)
def test_ids_that_contradict_one_another(copy: Path, case: str) -> None:
    changes, message = WRONG_IDS[case]
    for name, values in changes.items():
        configure(copy, name, **values)
    codec = load_codec(copy)
    size = codec.vocabulary_sizes[1]
    (text,) = codec.decode([[20]])

    assert text
    assert findings(copy) == [message.format(size=size, last=size - 1, text=text)]


def test_a_tokenizer_with_more_tokens_than_the_model(copy: Path) -> None:
    vocabulary = json.loads((copy / "vocab.json").read_text())
    rows = len(vocabulary)
    (copy / "vocab.json").write_text(json.dumps({**vocabulary, "▁new": rows}))
    model, codec = load_seq2seq(copy), load_codec(copy)
    found = checkpoint_findings(model, codec, copy)

    assert [str(f) for f in found] == [
        f"The tokenizer has {side} ids up to {rows}, the model has {rows} tokens.\n"
        "Expected a row of the embeddings for each id: a text that needs a higher one stops the "
        "run.\n"
        "Take the tokenizer that belongs to the checkpoint."
        for side in ("source", "target")
    ]
    assert not any(f.is_certain for f in found)


def test_ids_of_the_data_that_the_model_does_not_know() -> None:
    model = tiny_model("t5")
    fine = TokenColumn.from_lists([[5, VOCABULARY - 1], [PAD]])
    high = TokenColumn.from_lists([[5, VOCABULARY], [VOCABULARY + 9]])

    assert list(used_id_findings(model, fine, fine)) == []
    assert list(used_id_findings(model, fine, high)) == [
        Finding(
            "2 target tokens of the data have ids that the model does not know, 60 first; it has "
            "60 tokens.",
            "Expected ids from 0 to 59.",
            "Take the tokenizer that belongs to the checkpoint.",
        )
    ]
