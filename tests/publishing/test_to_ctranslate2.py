"""Exports for CTranslate2: what they hold, that they are the model, that they need no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ctranslate2
import pytest
import sentencepiece
from pairs import PAIRS

import attuner
from attuner.errors import ModelError, UsageError
from attuner.inference.conversion import ConversionError
from attuner.publishing import to_ctranslate2
from attuner.publishing.export import export
from attuner.training.run import Run

# Runs the command line as if torch were not installed.
WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "torch" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.argv[0] = "attuner"
from attuner.cli import main
main()
"""


@pytest.mark.parametrize("quantization", ["float32", "int8", "int8_float32"])
def test_an_export_is_the_model(tuned: Run, quantization: str, tmp_path: Path) -> None:
    made = export(
        tuned.folder, to="ctranslate2", quantization=quantization, output=tmp_path / "made"
    )

    assert made.folder == tmp_path / "made"
    assert made.examples == f"5 validation examples of {tuned.folder}"
    assert made.metric == "bleu"
    assert made.original is not None
    assert made.exported is not None
    assert made.original.scores["bleu"] == made.exported.scores["bleu"] == pytest.approx(100)
    assert made.num_equal == made.num_examples == 5
    assert made.original.engine.startswith("transformers ")
    assert made.exported.engine == f"ctranslate2 {ctranslate2.__version__} {quantization}"
    assert made.num_bytes == sum(path.stat().st_size for path in made.folder.iterdir()) - (
        (made.folder / "export.json").stat().st_size - _bytes_before(made.folder)
    )
    model = attuner.load(made.folder)
    assert model.translate(list(PAIRS)) == list(PAIRS.values())
    assert model.engine.name.endswith(f" {quantization}")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def _bytes_before(folder: Path) -> int:
    """Size of `export.json` when the export was weighed: it held three facts then."""
    facts = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    first = {name: facts[name] for name in ("format", "number_format", "model")}
    return len((json.dumps(first, indent=2, ensure_ascii=False) + "\n").encode())


def test_int8_is_smaller_and_lies_in_the_run(tuned: Run) -> None:
    whole = export(tuned.folder, to="ctranslate2")
    small = export(tuned.folder, to="ctranslate2", quantization="int8")

    assert whole.folder == tuned.folder / "exports/ctranslate2-float32"
    assert small.folder == tuned.folder / "exports/ctranslate2-int8"
    sizes = [(made.folder / "model.bin").stat().st_size for made in (small, whole)]
    assert sizes[0] < 0.5 * sizes[1]


def test_the_facts_are_kept_beside_the_weights(tuned: Run, tmp_path: Path) -> None:
    made = export(tuned.folder, to="ctranslate2", output=tmp_path / "made")
    facts = json.loads((made.folder / "export.json").read_text(encoding="utf-8"))

    assert facts["format"] == "ctranslate2"
    assert facts["number_format"] == "float32"
    assert facts["model"] == str(tuned.folder)
    assert facts["is_checked"]
    assert facts["part"] == "validation"
    assert facts["num_examples"] == 5
    assert set(facts["weights"]) == {"model.safetensors"}
    for side in ("original", "exported"):
        assert facts[side]["scores"]["bleu"] == pytest.approx(100)
        assert facts[side]["num_bytes"] > 0
        assert facts[side]["per_second"] > 0
        assert "outputs" not in facts[side]


def test_it_is_used_without_torch(tuned: Run, held_out: Path, tmp_path: Path) -> None:
    made = export(tuned.folder, to="ctranslate2", quantization="int8", output=tmp_path / "made")

    def run(*arguments: str) -> str:
        words = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("translate", str(made.folder), "Delete file?") == "Supprimer le fichier ?\n"
    found = json.loads(run("evaluate", str(made.folder), str(held_out), "--json"))
    assert found["scores"]["bleu"] == pytest.approx(100)
    assert found["engine"].endswith(" int8")


def test_plain_ctranslate2_uses_it(tuned: Run, tmp_path: Path) -> None:
    made = export(tuned.folder, to="ctranslate2", output=tmp_path / "made", check=False)
    translator = ctranslate2.Translator(str(made.folder))
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(made.folder / "source.spm"))
    text = "Save the file as %1"
    (result,) = translator.translate_batch([[*tokens.encode(text, out_type=str), "</s>"]])

    assert tokens.decode_pieces(result.hypotheses[0]) == PAIRS[text]


def test_an_adapter_is_merged(adapted: Run, marian: Path, tmp_path: Path) -> None:
    made = export(adapted.folder, to="ctranslate2", output=tmp_path / "made")
    texts = list(PAIRS)

    assert made.num_equal == 5
    assert attuner.load(made.folder).translate(texts) == attuner.load(adapted.folder).translate(
        texts
    )
    assert attuner.load(made.folder).translate(texts) != attuner.load(marian).translate(texts)
    assert made.model_bytes > sum(path.stat().st_size for path in marian.glob("*.safetensors"))


def test_a_model_that_ctranslate2_does_not_support(marian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(marian, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "prophetnet"}))
    with pytest.raises(ModelError) as caught:
        export(folder, to="ctranslate2", check=False, output=tmp_path / "made")

    assert str(caught.value) == (
        "CTranslate2 does not support models of type prophetnet.\n"
        "Supported: bart, m2m_100, marian, mbart, mt5, pegasus, t5, umt5.\n"
        "Use its model folder as it is, or a smaller one: attuner export "
        f"{folder} --to transformers --dtype bfloat16"
    )
    assert not (tmp_path / "made").exists()


def test_a_model_that_it_cannot_convert(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise ConversionError("It cannot.", "Expected another.", "Use the transformers engine.")

    monkeypatch.setattr(to_ctranslate2, "convert", convert)
    with pytest.raises(ConversionError) as caught:
        export(marian, to="ctranslate2", check=False, output=tmp_path / "made")

    assert str(caught.value) == (
        "It cannot.\nExpected another.\nUse its model folder as it is, or a smaller one: attuner "
        f"export {marian} --to transformers --dtype bfloat16"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_export_has_one_engine_and_is_not_trained_or_exported_again(
    tuned: Run, tmp_path: Path
) -> None:
    made = export(
        tuned.folder, to="ctranslate2", quantization="int8", check=False, output=tmp_path / "made"
    )
    for option, value in (("engine", "transformers"), ("quantization", "float32")):
        with pytest.raises(UsageError) as refused:
            attuner.load(made.folder, **{option: value})
        assert str(refused.value) == (
            f"{made.folder} is an export for CTranslate2 in int8: {option} {value} is not for it.\n"
            "Engine and number format of an export are its own.\n"
            f"Leave {option} out, or name the model that the export was made from."
        )
    wanted = (
        f"{made.folder} is an export for CTranslate2: it can be used, not trained or converted.\n"
        "Expected a model folder, with weights as transformers has them.\n"
        f"Name the model that it was made from: {tuned.folder}."
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: {{name: translation, source: en, target: fr}}\nmodel: {made.folder}\n"
        f"data: {tmp_path}/none.jsonl\noutput: {{folder: {tmp_path}/runs}}\n"
    )
    for use in (
        lambda: export(made.folder, to="ctranslate2", check=False),
        lambda: attuner.train(recipe, listeners=[]),
    ):
        with pytest.raises(ModelError) as caught:
            use()
        assert str(caught.value) == wanted
    (made.folder / "model.bin").unlink()
    with pytest.raises(ModelError) as caught:
        attuner.load(made.folder)
    assert str(caught.value) == (
        f"{made.folder} has no model.bin.\n"
        "It is an export for CTranslate2, whose weights are in that file.\n"
        "Copy the folder again, or export the model again."
    )
