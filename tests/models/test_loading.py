from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import plain_loss
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, tiny_features, tiny_model

from attuner.errors import ModelError
from attuner.models.loading import load_seq2seq, new_seq2seq, resolve_model, save_model


@pytest.fixture
def copy(marian: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(marian, tmp_path / "model"))


def test_half_precision_weights_become_fp32_masters(copy: Path) -> None:
    path = copy / "model.safetensors"
    stored = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(stored, path, metadata={"format": "pt"})
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**settings, "dtype": "float16"}))
    model = load_seq2seq(copy)

    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert not model.training
    name = "model.encoder.layers.0.fc1.weight"
    assert torch.equal(dict(model.named_parameters())[name], stored[name].float())
    save_model(model, copy, copy / "saved")
    assert load_file(copy / "saved/model.safetensors")[name].dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_computes_the_same(family: str, copy: Path) -> None:
    """Above all those whose embeddings are not tied, or whose outputs are scaled."""
    model = tiny_model(family)
    save_model(model, copy, copy / "saved")
    saved = load_seq2seq(copy / "saved")
    features, rows = tiny_features(), np.arange(40)

    assert plain_loss(saved, features, rows).item() == plain_loss(model, features, rows).item()


def test_missing_weights_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if "encoder.layers.0.fc1" not in n}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_seq2seq(copy)

    assert str(caught.value) == (
        f"{copy}: 2 weights are missing, model.encoder.layers.0.fc1.bias first.\n"
        "Expected a complete checkpoint; missing weights would start at random.\n"
        "Download or save the checkpoint again."
    )


def test_damaged_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError) as caught:
        load_seq2seq(copy)

    assert caught.value.happened.startswith(f"{copy} cannot be loaded: ")
    assert caught.value.expected == (
        "Expected an encoder-decoder model that transformers' AutoModelForSeq2SeqLM loads."
    )


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").touch()
    with pytest.raises(ModelError) as caught:
        resolve_model(str(copy))

    assert str(caught.value) == (
        f"{copy} has no *.safetensors weights but pytorch_model.bin, which is a pickle and can "
        "run code.\n"
        "Weights are loaded from safetensors only.\n"
        "Convert them where you trust the file: "
        "AutoModelForSeq2SeqLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
    )


def test_dropout_of_the_recipe_replaces_the_checkpoint_s(copy: Path) -> None:
    model = load_seq2seq(copy, dropout=0.3)

    assert model.get_submodule("model.encoder.layers.0").dropout == 0.3
    assert load_seq2seq(copy).get_submodule("model.encoder.layers.0").dropout == 0.0


def test_random_weights_follow_the_seed(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config.pop("architectures", None)
    one, same, other = (next(new_seq2seq(config, seed=s).parameters()) for s in (1, 1, 2))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_configuration_that_transformers_does_not_know() -> None:
    with pytest.raises(ModelError) as caught:
        new_seq2seq({"model_type": "no-such"}, seed=0)

    assert caught.value.happened.startswith("model.config does not describe an encoder-decoder")
    assert caught.value.expected == (
        "Expected model_type and the fields of that type's transformers configuration."
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"d_model": "32"}, "Field 'd_model' expected int, got str (value: '32')"),
        ({"encoder_attention_heads": 0}, "integer division or modulo by zero"),
        ({"pad_token_id": 10**6}, "Padding_idx must be within num_embeddings"),
    ],
)
def test_a_configuration_with_impossible_values(
    marian: Path, values: dict[str, Any], said: str
) -> None:
    config = json.loads((marian / "config.json").read_text())
    with pytest.raises(ModelError) as caught:
        new_seq2seq({**config, **values}, seed=0)

    assert caught.value.happened.startswith("model.config does not describe an encoder-decoder")
    assert said in caught.value.happened


def test_a_folder_that_is_called_tokenizer_is_not_copied(marian: Path, tmp_path: Path) -> None:
    shutil.copytree(marian, tmp_path / "old")
    (tmp_path / "old/tokenizer").mkdir()
    save_model(load_seq2seq(marian), tmp_path / "old", tmp_path / "new")

    assert {"source.spm", "tokenizer_config.json"} <= {
        path.name for path in (tmp_path / "new").iterdir()
    }


def test_a_saved_model_can_be_read_by_others(marian: Path, tmp_path: Path) -> None:
    save_model(load_seq2seq(marian), marian, tmp_path)

    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert {"source.spm", "vocab.json", "generation_config.json"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_a_model_inside_an_installed_package(
    tmp_path: Path, marian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_model"
    shutil.copytree(marian, package / "model")
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_model("package:some_model") == package / "model"
    shutil.copytree(marian, package / "other")
    with pytest.raises(ModelError) as caught:
        resolve_model("package:some_model")
    assert str(caught.value) == (
        "package:some_model: 2 model folders in it.\n"
        "Expected one, with config.json and safetensors.\n"
        "Name the folder itself."
    )
    with pytest.raises(ModelError) as caught:
        resolve_model("package:no-such-model")
    assert str(caught.value) == (
        "package:no-such-model: no such package is installed.\n"
        "Give the name that pip knows, or the one that is imported.\n"
        "Install it with: pip install no-such-model"
    )
