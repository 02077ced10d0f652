from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import attuner
from attuner.errors import UsageError


def test_the_public_names() -> None:
    assert attuner.__all__ == [
        "Classifier", "Recipe", "Run", "Translator", "UserError", "evaluate", "load", "predict",
        "train",
    ]  # fmt: skip
    for name in attuner.__all__:
        assert getattr(attuner, name).__doc__, name
        assert name in dir(attuner)
    with pytest.raises(AttributeError, match="'attuner' has no attribute 'tran'"):
        attuner.tran  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, attuner; print([m for m in ('torch', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_train_evaluate_load_and_predict(marian: Path, tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    pairs = [("Open the file", "Ouvre le fichier"), ("Delete file?", "Efface le fichier ?")]
    data.write_text("".join(json.dumps({"en": en, "fr": fr}) + "\n" for en, fr in pairs))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: {{name: translation, source: en, target: fr}}\nmodel: {marian}\n"
        f"data: {{train: {data}, split: {{validation: 0, test: 0}}}}\n"
        f"output: {{folder: {tmp_path}/runs}}\n"
    )
    run = attuner.train(
        recipe, "training.epochs=80", "training.batch_examples=2", "training.learning_rate=0.005"
    )

    assert isinstance(run, attuner.Run)
    assert attuner.predict(run.model_folder, ["Open the file"]) == ["Ouvre le fichier"]
    assert attuner.load(run.folder).translate(" Delete file?\n") == " Efface le fichier ?\n"
    evaluation = attuner.evaluate(run.folder, data, source="en", target="fr")
    assert evaluation.scores["bleu"] == pytest.approx(100)
    assert run.before == {}


def test_a_run_is_begun_or_resumed_not_both() -> None:
    with pytest.raises(UsageError) as caught:
        attuner.train("recipe.yaml", resume="runs/x")

    assert str(caught.value) == (
        "train() was given a recipe and resume=, or neither.\n"
        "A run is begun with a recipe, or gone on with as it was begun.\n"
        'Call attuner.train("recipe.yaml") or attuner.train(resume="runs/NAME").'
    )
