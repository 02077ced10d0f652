"""Loading and saving classifiers: what may be new, what is said, what stands in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_classifiers import tiny_classifier, write_encoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from attuner.data.labels import LabelSet
from attuner.errors import ModelError
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifiers import (
    labels_of,
    load_classifier,
    save_classifier,
    set_pad_token,
    set_threshold,
    threshold_of,
)

MOODS = LabelSet("single", ("good", "bad"))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


@pytest.fixture
def trained(encoder: Path, tmp_path: Path) -> Path:
    """A classifier of moods."""
    folder = tmp_path / "trained"
    save_classifier(
        load_classifier(encoder, MOODS).model, ClassifierTokens(encoder), encoder, folder
    )
    return folder


def head_of(model: Any) -> torch.Tensor:
    return model.classifier.weight.detach()


def test_a_new_head_is_announced(encoder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = load_classifier(encoder, MOODS, seed=1)
    assert found.note == (
        "The head that gives the labels is new: 2 weights, classifier.bias first, start at random."
    )
    assert not caplog.records  # transformers' own table of new weights
    assert not found.model.training
    again = load_classifier(encoder, MOODS, seed=1)
    assert torch.equal(head_of(found.model), head_of(again.model))
    assert not torch.equal(head_of(found.model), head_of(load_classifier(encoder, MOODS).model))


def test_loading_leaves_the_random_state_alone(encoder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_classifier(encoder, MOODS)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (MOODS, "single_label_classification"),
        (LabelSet("multi", ("a", "b", "c")), "multi_label_classification"),
        (LabelSet("rating"), "regression"),
    ],
)
def test_labels_stand_in_the_configuration(
    encoder: Path, tmp_path: Path, labels: LabelSet, problem: str
) -> None:
    model = load_classifier(encoder, labels).model
    set_threshold(model, 0.25)
    tokens = ClassifierTokens(encoder)
    save_classifier(model, tokens, encoder, tmp_path / "saved")
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert config["problem_type"] == problem
    assert labels_of(tmp_path / "saved") == labels
    assert threshold_of(tmp_path / "saved") == 0.25
    assert threshold_of(encoder) == 0.5
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (encoder / name).read_bytes()
    again = load_classifier(tmp_path / "saved")
    assert again.note == ""
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])


def test_a_folder_is_what_transformers_reads(trained: Path) -> None:
    (found,) = pipeline("text-classification", model=str(trained))(["a good film"])
    assert found["label"] in MOODS.names


def test_the_same_labels_keep_their_head(trained: Path) -> None:
    found = load_classifier(trained, MOODS, seed=9)
    assert found.note == ""
    assert torch.equal(head_of(found.model), head_of(load_classifier(trained).model))


@pytest.mark.parametrize("names", [("red", "blue"), ("good", "bad", "fine")])
def test_a_head_for_other_labels_is_replaced(trained: Path, names: tuple[str, ...]) -> None:
    found = load_classifier(trained, LabelSet("single", names), seed=9)
    assert found.note == (
        "The head that gives the labels is new (the checkpoint's is for good, bad): 2 weights, "
        "classifier.bias first, start at random."
    )
    assert found.model.config.id2label == dict(enumerate(names))
    old = load_classifier(trained).model
    assert not torch.equal(head_of(found.model)[:2], head_of(old))
    assert torch.equal(
        found.model.bert.pooler.dense.weight, old.bert.pooler.dense.weight
    )  # the encoder's


def test_dropout_is_the_asked_one(encoder: Path) -> None:
    assert load_classifier(encoder, MOODS, dropout=0.25).model.config.hidden_dropout_prob == 0.25


def test_an_encoder_gives_no_labels(encoder: Path) -> None:
    assert labels_of(encoder) is None
    with pytest.raises(ModelError) as caught:
        load_classifier(encoder)
    assert str(caught.value) == (
        f"{encoder} is no classifier yet: classifier.bias is missing.\n"
        "Expected a model that was trained to give labels.\n"
        f"Train it first: attuner train --task classification --model {encoder} --data FILE "
        "--text COLUMN --label COLUMN"
    )


def test_weights_of_the_encoder_must_be_there(encoder: Path) -> None:
    weights = load_file(encoder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "layer.1.output" not in name},
        encoder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError) as caught:
        load_classifier(encoder, MOODS)
    assert str(caught.value) == (
        f"{encoder}: 4 weights of the encoder are missing, "
        "bert.encoder.layer.1.output.LayerNorm.bias first.\n"
        "Expected a complete checkpoint; only the head that gives the labels may be new.\n"
        "Download or save the checkpoint again."
    )


def test_a_missing_pooler_is_part_of_the_head(encoder: Path) -> None:
    weights = load_file(encoder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "pooler" not in name},
        encoder / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert load_classifier(encoder, MOODS).new_weights == (
        "bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias",
        "classifier.weight",
    )  # fmt: skip


def test_a_model_that_is_no_classifier(marian: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_classifier(marian, MOODS)
    assert f"{marian} cannot be loaded as a classifier: " in str(caught.value)
    assert str(caught.value).endswith(
        "Expected a model that transformers' AutoModelForSequenceClassification loads."
    )


def test_labels_that_transformers_leaves_out() -> None:
    assert labels_of(Path("nowhere")) is None


def test_two_labels_without_names(tmp_path: Path) -> None:
    tiny_classifier(num_labels=2).save_pretrained(tmp_path)
    assert labels_of(tmp_path) == LabelSet("single", ("LABEL_0", "LABEL_1"))


def write_decoder(folder: Path) -> Path:
    """A GPT-2 as it is published: without a pad token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<end>": 0, "good": 1, "bad": 2, "film": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<end>"
    ).save_pretrained(folder)
    tiny_classifier("gpt2", pad_token_id=None).transformer.save_pretrained(folder)
    return folder


def test_a_decoder_gets_a_pad_token(tmp_path: Path) -> None:
    folder = write_decoder(tmp_path / "decoder")
    tokens = ClassifierTokens(folder)
    model = load_classifier(folder, MOODS).model
    assert set_pad_token(model, tokens) == (
        "The checkpoint has no pad token: its end token <end> serves as one, and is delivered so."
    )
    save_classifier(model, tokens, folder, tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").pad_token == "<end>"
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert loaded.config.pad_token_id == 0
    found = pipeline("text-classification", model=str(tmp_path / "saved"), batch_size=2)
    assert len(found(["good film", "bad"])) == 2


def test_a_pad_token_of_its_own_is_not_mentioned(encoder: Path) -> None:
    tokens = ClassifierTokens(encoder)
    assert set_pad_token(load_classifier(encoder, MOODS).model, tokens) == ""
