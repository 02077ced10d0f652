"""Classifiers as ONNX files: of every family, of any batch and length, used without torch."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_to_ctranslate2 import WITHOUT_TORCH
from tiny_classifiers import FAMILIES, WORDS, tiny_classifier, write_encoder

import attuner
from attuner.errors import ModelError, UserError
from attuner.models.classifiers import load_classifier
from attuner.publishing.export import export
from attuner.training.run import Run

onnxruntime = pytest.importorskip("onnxruntime", reason="attuner[onnx] is not installed")
pytest.importorskip("onnxscript", reason="attuner[onnx] is not installed")

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "deberta-v2"]


def some_texts(num: int = 30) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(1, 20))) for _ in range(num)]


def write_classifier(folder: Path, family: str, **more: Any) -> Path:
    """A classifier with random weights whose labels differ from text to text."""
    write_encoder(folder)
    (folder / "model.safetensors").unlink()
    if family in ("gpt2", "llama", "modernbert", "modernbert, local"):  # with ids of their own
        more |= {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    model = tiny_classifier(family, pad_token_id=0, **more)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(moods: Run, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An export of the tuned classifier."""
    return export(moods.folder, to="onnx", output=tmp_path_factory.mktemp("onnx") / "made")


def test_an_export_is_the_model(exported: Any, moods: Run) -> None:
    assert exported.examples.endswith(f" validation examples of {moods.folder}")
    assert exported.metric == "accuracy"
    assert exported.fall == 0
    assert exported.num_equal == exported.num_examples > 0
    assert exported.exported.engine == f"onnxruntime {onnxruntime.__version__} float32"
    ours, theirs = attuner.load(moods.folder, precision="fp32"), attuner.load(exported.folder)
    texts = ["", *some_texts(), "good " * 500]
    assert ours.max_tokens == theirs.max_tokens == 64
    np.testing.assert_allclose(theirs.logits(texts), ours.logits(texts), atol=1e-4)
    assert {said.label for said in theirs.classify(texts)} == {"bad", "good"}


def test_onnxruntime_alone_runs_it(exported: Any) -> None:
    session = onnxruntime.InferenceSession(str(exported.folder / "model.onnx"))
    assert [(value.name, value.shape) for value in session.get_inputs()] == [
        (name, ["batch", "length"]) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [value.name for value in session.get_outputs()] == ["logits"]
    for shape in ((1, 1), (1, 40), (9, 3)):
        ids = np.full(shape, 7, np.int64)
        inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        assert session.run(["logits"], inputs)[0].shape == (shape[0], 2)


def test_it_is_used_without_torch(exported: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    with data.open("w", newline="") as file:
        rows = [("review", "mood"), ("a good film", "good"), ("the bad film", "bad")]
        csv.writer(file).writerows(rows)

    def run(*arguments: str) -> str:
        words = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("classify", str(exported.folder), "a good film").startswith("good\t")
    found = json.loads(run("evaluate", str(exported.folder), str(data), "--json"))
    assert found["scores"]["accuracy"] == 100
    assert found["engine"].startswith("onnxruntime ")


@pytest.mark.parametrize("family", ["deberta-v2", *SLOW])
def test_families(family: str, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", family)
    made = export(folder, to="onnx", check=False, output=tmp_path / "made")

    ours, theirs = attuner.load(folder, precision="fp32"), attuner.load(made.folder)
    texts = some_texts()
    np.testing.assert_allclose(theirs.logits(texts), ours.logits(texts), atol=1e-3)
    labels = [said.label for said in ours.classify(texts)]
    assert [said.label for said in theirs.classify(texts)] == labels


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_several_labels_and_ratings(problem: str, tmp_path: Path) -> None:
    num = 1 if problem == "regression" else 3
    folder = write_classifier(tmp_path / "model", "bert", num_labels=num, problem_type=problem)
    data = tmp_path / "data.csv"
    ours = attuner.load(folder, precision="fp32")
    with data.open("w", newline="") as file:
        labels = [said.label for said in ours.classify(some_texts())]
        spelt = [",".join(label) if isinstance(label, tuple) else label for label in labels]
        csv.writer(file).writerows([("text", "label"), *zip(some_texts(), spelt, strict=True)])
    made = export(folder, to="onnx", data=data, output=tmp_path / "made")

    assert made.metric == ("pearson" if num == 1 else "micro_f1")
    assert made.original is not None
    assert made.exported is not None
    assert made.exported.scores[made.metric] == pytest.approx(100)
    assert made.num_equal == made.num_examples


def test_a_model_that_torch_cannot_trace(
    moods: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to export.\nFix it.") from ValueError("no such operator\nat 3")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ModelError) as caught:
        export(moods.folder, to="onnx", output=tmp_path / "made")
    assert str(caught.value) == (
        "torch.onnx.export cannot convert this bert model: no such operator\n"
        "Expected a model that can be traced with batches and texts of any size.\n"
        f"Use its model folder as it is, or a smaller one: attuner export {moods.folder} "
        "--to transformers --dtype bfloat16"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_something_else_is_refused(
    moods: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = torch.onnx.export

    def damage(model: Any, *arguments: Any, **options: Any) -> Any:
        model.model.classifier.bias.data += 1
        try:
            return inner(model, *arguments, **options)
        finally:
            model.model.classifier.bias = torch.nn.Parameter(model.model.classifier.bias - 1)

    monkeypatch.setattr(torch.onnx, "export", damage)
    with pytest.raises(ModelError) as caught:
        export(moods.folder, to="onnx", check=False, output=tmp_path / "made")
    assert str(caught.value) == (
        "torch.onnx.export converts this bert model wrongly: outputs differ by 1.\n"
        "Expected the model's own outputs, for batches and texts of any size.\n"
        f"Use its model folder as it is, or a smaller one: attuner export {moods.folder} "
        "--to transformers --dtype bfloat16"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_is_not_for_ctranslate2(moods: Run) -> None:
    with pytest.raises(ModelError) as caught:
        export(moods.folder, to="ctranslate2")
    assert str(caught.value) == (
        f"{moods.folder} gives labels: it is not exported for CTranslate2.\n"
        "CTranslate2 runs models that write text.\n"
        f"Export it for onnxruntime: attuner export {moods.folder} --to onnx"
    )


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_without_the_extra(moods: Run, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as caught:
        export(moods.folder, to="onnx")
    assert str(caught.value) == (
        "Export to ONNX needs the optional dependencies of attuner[onnx].\n"
        'Install them with: pip install "attuner[onnx]"'
    )


def test_a_damaged_file(exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made"
    shutil.copytree(exported.folder, folder)
    (folder / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(ModelError) as caught:
        attuner.load(folder)
    assert caught.value.happened.startswith(f"{folder}/model.onnx cannot be loaded: ")
    assert caught.value.remedy == "Copy the folder again, or export the model again."
    with pytest.raises(ModelError) as refused:
        load_classifier(folder)
    assert refused.value.happened == (
        f"{folder} is an export for ONNX: it can be used, not trained or converted."
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="Using an ONNX export needs"):
        attuner.load(folder)
