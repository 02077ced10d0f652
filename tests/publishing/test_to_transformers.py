"""Model folders in other number formats, and adapters merged or apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import PAIRS
from safetensors.torch import load_file
from tiny import tiny_folder
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

import attuner
from attuner.errors import ModelError, UsageError
from attuner.publishing.export import export
from attuner.training.run import Run

TEXTS = list(PAIRS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_the_size_and_read_by_transformers(tuned: Run, dtype: str, tmp_path: Path) -> None:
    made = export(tuned.folder, to="transformers", dtype=dtype, output=tmp_path / "made")

    assert made.exported is not None
    assert made.exported.engine.endswith(f" {dtype}")
    assert made.num_equal == 5
    stored = load_file(made.folder / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {getattr(torch, dtype)}
    whole, half = (
        (folder / "model.safetensors").stat().st_size
        for folder in (tuned.model_folder, made.folder)
    )
    assert half < 0.6 * whole
    model = AutoModelForSeq2SeqLM.from_pretrained(made.folder)
    assert model.dtype == getattr(torch, dtype)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    ids = model.generate(**tokenizer(TEXTS[0], return_tensors="pt"), max_new_tokens=20)
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == PAIRS[TEXTS[0]]
    assert attuner.load(made.folder).translate(TEXTS) == list(PAIRS.values())


def test_t5_overflows_in_fp16(tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    tiny_folder("t5", folder, TEXTS)
    with pytest.raises(ModelError) as caught:
        export(folder, to="transformers", dtype="float16", check=False, output=tmp_path / "made")
    assert str(caught.value) == (
        f"{folder}: T5 overflows in float16.\n"
        "Its activations grow beyond 65,504, the largest number of that format.\n"
        "Export it in bfloat16, which is as small: --dtype bfloat16"
    )
    made = export(folder, to="transformers", dtype="bfloat16", check=False, output=tmp_path / "new")
    assert (made.folder / "model.safetensors").is_file()


def test_a_weight_that_float16_cannot_hold(marian: Path, tmp_path: Path) -> None:
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(marian)
    model.model.encoder.layers[0].fc1.bias.data[0] = 1e5
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    for name in ("vocab.json", "source.spm", "target.spm", "tokenizer_config.json"):
        (folder / name).write_bytes((marian / name).read_bytes())
    with pytest.raises(ModelError) as caught:
        export(folder, to="transformers", dtype="float16", check=False, output=tmp_path / "made")
    assert str(caught.value) == (
        f"{folder}: model.encoder.layers.0.fc1.bias has numbers that float16 cannot hold.\n"
        "The largest number of float16 is 65,504.\n"
        "Export it in bfloat16, which is as small: --dtype bfloat16"
    )
    assert not (tmp_path / "made").exists()


def test_an_adapter_is_merged_by_default(adapted: Run, tmp_path: Path) -> None:
    made = export(adapted.folder, to="transformers", output=tmp_path / "made")

    assert not (made.folder / "adapter_config.json").exists()
    assert (made.folder / "model.safetensors").is_file()
    wanted = attuner.load(adapted.folder).translate(TEXTS)
    assert wanted != list(PAIRS.values())
    assert attuner.load(made.folder).translate(TEXTS) == wanted
    assert made.num_equal == 5


def test_an_adapter_can_stay_apart(adapted: Run, tmp_path: Path) -> None:
    made = export(
        adapted.folder, to="transformers", dtype="bfloat16", adapter="separate",
        output=tmp_path / "made",
    )  # fmt: skip

    assert not (made.folder / "model.safetensors").exists()
    stored = load_file(made.folder / "adapter_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert attuner.load(made.folder).translate(TEXTS) == attuner.load(adapted.folder).translate(
        TEXTS
    )
    with pytest.raises(UsageError) as caught:
        export(adapted.folder, to="ctranslate2", adapter="separate")
    assert str(caught.value) == (
        "An adapter alone cannot be exported to ctranslate2.\n"
        "CTranslate2 runs whole models.\n"
        "Leave the option out: the adapter is merged into its base."
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_classifier(moods: Run, dtype: str, tmp_path: Path) -> None:
    made = export(moods.folder, to="transformers", dtype=dtype, output=tmp_path / "made")

    assert made.metric == "accuracy"
    assert made.num_equal == made.num_examples > 0
    model = AutoModelForSequenceClassification.from_pretrained(made.folder)
    assert model.dtype == getattr(torch, dtype)
    (said,) = pipeline("text-classification", model=str(made.folder))(["the film was good"])
    assert said["label"] == "good"
    (found,) = attuner.load(made.folder).classify(["the film was good"])
    assert found.label == "good"
