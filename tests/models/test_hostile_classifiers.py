"""Classifiers' folders that are damaged, or made to do harm, are refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_classifiers import write_encoder

from attuner.data.labels import LabelSet
from attuner.errors import ModelError
from attuner.inference.classifier import load_labels
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifiers import load_classifier, longest_text, save_classifier

MOODS = LabelSet("single", ("bad", "fine", "good"))
COPY_AGAIN = "Copy the file again from the checkpoint that the model was made from."
FROM_CHECKPOINT = "Copy the tokenizer's files from the checkpoint that the model was made from."


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of moods."""
    encoder = write_encoder(tmp_path_factory.mktemp("moods") / "encoder")
    folder = encoder.parent / "model"
    save_classifier(
        load_classifier(encoder, MOODS).model, ClassifierTokens(encoder), encoder, folder
    )
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(sound, tmp_path / "model"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def error_of(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_labels(folder)
    return str(caught.value)


def test_a_tokenizer_with_code_of_its_own(folder: Path) -> None:
    file, auto_map = folder / "tokenizer_config.json", {"AutoTokenizer": ["evil.Evil", None]}
    change(file, auto_map=auto_map)
    assert error_of(folder) == (
        f"{file} asks for code of its own: auto_map is {auto_map}.\n"
        "Attuner runs no code from a model folder (transformers' trust_remote_code is off).\n"
        "Choose a checkpoint of an architecture that transformers itself has."
    )


@pytest.mark.parametrize(
    ("name", "size", "weights"),
    [
        ("vocab_size", 10**9, "numbers"),
        ("max_position_embeddings", 10**9, "numbers"),
        ("num_hidden_layers", 1000, "tensors"),
    ],
)
def test_absurd_sizes(folder: Path, name: str, size: int, weights: str) -> None:
    file = folder / "config.json"
    change(file, **{name: size})
    happened, *rest = error_of(folder).splitlines()
    assert happened.startswith(f"{file}: {name} is {size}, but the weights are ")
    assert happened.endswith(f" {weights}.")
    assert rest == [
        "The configuration describes the weights beside it.",
        "Copy both again from one checkpoint.",
    ]


def test_a_large_vocabulary_of_narrow_embeddings_is_not_absurd(folder: Path) -> None:
    change(folder / "config.json", vocab_size=200_000, embedding_size=128, hidden_size=768)
    assert error_of(folder).splitlines()[0].startswith(f"{folder}: 38 weights have other shapes ")


@pytest.mark.parametrize("labels", [None, MOODS])
def test_weights_of_other_shapes(folder: Path, labels: LabelSet | None) -> None:
    change(folder / "config.json", max_position_embeddings=70)
    with pytest.raises(ModelError) as caught:
        load_classifier(folder, labels)
    assert str(caught.value) == (
        f"{folder}: 1 weight has another shape than config.json says, "
        "bert.embeddings.position_embeddings.weight first: (66, 32).\n"
        "Expected (70, 32).\n"
        "Take the configuration that belongs to the weights: vocab_size, d_model and the like "
        "must be theirs."
    )


def test_more_names_of_labels_than_outputs(folder: Path) -> None:
    change(folder / "config.json", id2label={"0": "bad", "1": "good"})
    assert error_of(folder).startswith(
        f"{folder}: 2 weights have other shapes than config.json says, classifier.bias first: (3,)."
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_size": "x"}, "Validation error for field 'hidden_size':"),
        ({"num_attention_heads": 0}, "integer modulo by zero"),
        ({"hidden_act": "__import__"}, "'__import__'"),
    ],
)
def test_absurd_configurations(folder: Path, values: dict[str, Any], said: str) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(ModelError) as caught:
        load_classifier(folder)
    assert str(caught.value) == (
        f"{folder} cannot be loaded as a classifier: {said}\n"
        "Expected a model that transformers' AutoModelForSequenceClassification loads."
    )


def test_an_absurd_configuration_that_is_to_be_trained(folder: Path) -> None:
    change(folder / "config.json", max_position_embeddings="x")
    with pytest.raises(ModelError, match="field 'max_position_embeddings'"):
        longest_text(folder, ClassifierTokens(folder), 128)


@pytest.mark.parametrize("names", [["bad", "good"], {"a": "bad", "b": "good"}, "bad"])
def test_names_of_labels_that_are_none(folder: Path, names: object) -> None:
    file = folder / "config.json"
    change(file, id2label=names)
    assert error_of(folder) == (
        f"{file}: id2label is {names!r}.\n"
        'It is an object with the name of each label by its number, {"0": "bad", "1": "good"}.\n'
        f"{COPY_AGAIN}"
    )


@pytest.mark.parametrize("architectures", ["BertForSequenceClassification", 5, {"a": "b"}])
def test_architectures_that_are_none(folder: Path, architectures: object) -> None:
    change(folder / "config.json", architectures=architectures)
    assert load_classifier(folder, MOODS).old_labels == ()


@pytest.mark.parametrize("threshold", ["x", None, 1.5, -1, True])
def test_thresholds_that_are_none(folder: Path, threshold: object) -> None:
    file = folder / "config.json"
    change(file, attuner_threshold=threshold)
    assert error_of(folder) == (
        f"{file}: attuner_threshold is {threshold!r}.\n"
        f"It is a probability, from 0 to 1.\n{COPY_AGAIN}"
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}'])
def test_a_damaged_tokenizer(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    happened, *rest = error_of(folder).splitlines()
    assert happened.startswith(f"{folder}: the tokenizer cannot be loaded: ")
    assert rest == [
        "A tokenizer as tokenizer.save_pretrained(FOLDER) writes it, without own code.",
        FROM_CHECKPOINT,
    ]


def test_a_huge_tokenizer_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as opened:
        opened.truncate(2**40)  # a hole: it takes no room on the disk
    assert error_of(folder) == (
        f"{folder / 'tokenizer.json'} has {2**40} bytes.\n"
        f"The files beside the weights have up to 64 MiB each.\n{COPY_AGAIN}"
    )


@pytest.mark.parametrize("longest", ["x", -5, 0, True])
def test_a_longest_text_that_is_none(folder: Path, longest: object) -> None:
    file = folder / "tokenizer_config.json"
    change(file, model_max_length=longest)
    assert error_of(folder) == (
        f"{file}: model_max_length is {longest!r}.\n"
        f"The longest text is a number of tokens, from 1.\n{FROM_CHECKPOINT}"
    )
