from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import attuner
from attuner.errors import UsageError


def test_the_public_names() -> None:
    assert attuner.__all__ == [
        "Classifier", "Recipe", "Run", "Translator", "UserError", "evaluate", "export", "load",
        "metric", "pipeline", "predict", "push", "train",
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


def test_predict_takes_a_text_for_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    translator = SimpleNamespace(translate=lambda texts: [text.upper() for text in texts])
    monkeypatch.setattr("attuner.api.load", lambda model: translator)
    assert attuner.predict("model", "Open it") == "OPEN IT"
    assert attuner.predict("model", ["Open it", "a"]) == ["OPEN IT", "A"]


def test_a_run_needs_a_recipe_or_a_folder() -> None:
    with pytest.raises(UsageError) as caught:
        attuner.train()

    assert str(caught.value) == (
        "train() was given neither a recipe nor resume=.\n"
        "A run is begun with a recipe, or gone on with.\n"
        'Call attuner.train("recipe.yaml") or attuner.train(resume="runs/NAME").'
    )


@pytest.mark.parametrize(
    ("arguments", "resume", "called"),
    [
        ((), "runs/x", ("resume", Path("runs/x"), None)),
        ((), True, ("resume", Path("runs/latest"), None)),
        (("recipe.yaml",), True, ("begin_or_resume", 3.0)),
        (("recipe.yaml", "training.epochs=2"), "runs/x", ("resume", Path("runs/x"), 2.0)),
        (("recipe.yaml",), None, ("train", 3.0)),
    ],
)
def test_what_is_begun_and_what_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    resume: str | bool | None,
    called: tuple[Any, ...],
) -> None:
    from attuner.training import resuming, run

    asked: list[tuple[Any, ...]] = []

    def remember(name: str) -> Any:
        def call(*given: Any, **_: Any) -> None:
            told = [g.training.epochs if isinstance(g, attuner.Recipe) else g for g in given]
            asked.append((name, *told))

        return call

    for name in ("train", "resume", "begin_or_resume"):
        monkeypatch.setattr(run, name, remember(name))
    monkeypatch.setattr(resuming, "latest_run", lambda parent: parent / "latest")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        "task: {name: translation, source: en, target: fr}\nmodel: m\ndata: a.po\n"
    )
    attuner.train(*arguments, resume=resume, listeners=[])
    assert asked == [called]


def test_a_revision_is_the_only_one_that_is_asked_for(
    marian: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(name: str, *, revision: str | None = None, **_: object) -> Path:
        asked.append(revision)
        return marian

    monkeypatch.setattr("attuner.models.loading.resolve_model", resolve)
    attuner.load("team/model", revision="v1")
    assert set(asked) == {"v1"}
