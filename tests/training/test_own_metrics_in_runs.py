"""Metrics of the user's own, which a recipe names, through a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lessons import Tune
from tiny_classifiers import reviews, write_encoder

import attuner
from attuner.cards.truth import require_true_card
from attuner.errors import RecipeError, RunError, UsageError, UserError
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.check import check
from attuner.training.events import Event, Saved
from attuner.training.folder import RunFolder
from attuner.training.past import read_run
from attuner.training.run import Run, resume, train
from attuner.training.snapshot import write_model_so_far

KAPPA = """
def kappa(predictions, labels):
    same = (predictions == labels).mean()
    chance = sum((predictions == n).mean() * (labels == n).mean() for n in (0, 1))
    return {"kappa": float((same - chance) / (1 - chance) if chance < 1 else 1)}
"""
Build = Callable[..., Recipe]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def place(encoder: Path, tmp_path: Path) -> Path:
    """A folder with a recipe, its data and its metric; it is not where one types."""
    folder = tmp_path / "place"
    folder.mkdir()
    reviews(folder / "reviews.csv")
    (folder / "my_metrics.py").write_text(KAPPA)
    (folder / "recipe.yaml").write_text(
        "task: {name: classification, text: review, label: mood}\n"
        f"model: {encoder}\n"
        f"data: {{train: {folder}/reviews.csv, split: {{test: 0.25}}, duplicates: keep}}\n"
        "training: {epochs: 2, batch_examples: 8, learning_rate: 0.005, precision: fp32,\n"
        "  best_metric: kappa}\n"
        "evaluation: {functions: 'my_metrics.py:kappa'}\n"
        f"output: {{folder: {tmp_path}/runs, name: own}}\n"
    )
    return folder


def scored(run: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    return [event for event in events if event["event"] == "evaluated"]


class PulledTheCableError(BaseException):
    pass


def pull(event: Event) -> None:
    if isinstance(event, Saved):
        raise PulledTheCableError


def interrupted(recipe: Recipe) -> Path:
    with pytest.raises(PulledTheCableError):
        train(recipe, listeners=[pull])
    return Path(recipe.output.folder) / recipe.output.name


def test_a_metric_of_ones_own_chooses_and_is_recorded(place: Path) -> None:
    recipe = load_recipe(place / "recipe.yaml")
    assert recipe.evaluation.functions == [f"{place}/my_metrics.py:kappa"]
    run = train(recipe)
    (before, *epochs, after) = [e for e in scored(run.folder) if e["split"] == "validation"] + [
        e for e in scored(run.folder) if (e["when"], e["split"]) == ("after", "test")
    ]

    assert all("kappa" in event["scores"] for event in (before, *epochs, after))
    best = max(event["scores"]["kappa"] for event in epochs)
    assert [e["scores"]["kappa"] for e in epochs if e["is_best"]][-1] == best
    low, high = after["intervals"]["kappa"]
    assert low <= run.after["kappa"] <= high
    assert "kappa: " in run.report
    assert run.signatures["kappa"].split("|")[-1].startswith("my_metrics.py:kappa@")
    facts = require_true_card(run.model_folder)
    card = (run.model_folder / "README.md").read_text(encoding="utf-8")
    assert facts.scored.after["kappa"] == run.after["kappa"]
    assert "kappa" in facts.scored.intervals["after"]
    assert "| kappa | " in card
    assert "my\\_metrics.py:kappa" in card or "my_metrics.py:kappa" in card
    assert str(place) not in card  # paths in full name a machine
    assert read_run(run.folder).main_metric == "kappa"


def test_check_finds_and_tries_it(place: Path) -> None:
    (place / "my_metrics.py").write_text("def kappa(predictions, labels):\n    return 1\n")
    with pytest.raises(UserError) as caught:
        check(load_recipe(place / "recipe.yaml"))
    assert str(caught.value) == (
        "my_metrics.py:kappa returned 1.\n"
        "Expected a function of predictions and of what is true that returns a dictionary of "
        'numbers, such as {"kappa": 0.5}.\n'
        "Mend it, or leave it out."
    )


def test_what_is_wrong_is_said_before_the_model_is_loaded(place: Path, tmp_path: Path) -> None:
    def said(*overrides: str) -> str:
        with pytest.raises(UserError) as caught:
            train(load_recipe(place / "recipe.yaml", overrides))
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    where = (
        "Expected a function in a file, my_metrics.py:kappa, or in what is installed, "
        "package.module:kappa."
    )
    gone = f"{place}/gone.py"
    assert said(f"evaluation.functions={gone}:kappa") == (
        f"{gone}: no such file or directory.\n{where}"
    )
    assert said(f"evaluation.functions={place}/my_metrics.py:cappa") == (
        f'{place}/my_metrics.py has no function cappa.\n{where}\nDid you mean "kappa"? '
        "Known: kappa."
    )
    assert said("training.best_metric=cappa") == (
        "training.best_metric is cappa, which is not scored.\n"
        'Did you mean "kappa"? Known: accuracy, f1, kappa, loss, macro_f1, mcc, micro_f1.'
    )


def test_a_name_that_names_no_function_is_a_fault_of_the_recipe(place: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(place / "recipe.yaml", ["evaluation.functions=[my_metrics]"])
    assert (
        "override evaluation.functions=[my_metrics] evaluation.functions[0]: my_metrics. Expected: "
        "my_metrics.py:kappa or package.module:kappa."
    ) in str(caught.value)


def test_overrides_count_from_where_one_types(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    recipe = load_recipe(
        place / "recipe.yaml", ["evaluation.functions=[place/my_metrics.py:kappa, a.b:c]"]
    )
    assert recipe.evaluation.functions == [f"{place}/my_metrics.py:kappa", "a.b:c"]


@pytest.mark.slow
def test_a_run_goes_on_with_the_very_functions_that_it_began_with(place: Path) -> None:
    folder = interrupted(load_recipe(place / "recipe.yaml"))
    file = place / "my_metrics.py"
    file.write_text(KAPPA.replace("float(", "5 + float("))
    with pytest.raises(RunError) as caught:
        resume(folder)
    lines = str(caught.value).split("\n")
    assert lines[0] == "A metric of the run has changed since the run began:"
    assert lines[1].startswith("  evaluation.functions, SHA-256 of their files: kappa ")
    assert lines[1].endswith(" (scores before were measured otherwise)")
    assert "--inexact" in lines[3]
    file.rename(file.with_name("moved.py"))
    with pytest.raises(UsageError, match=r"my_metrics\.py: no such file or directory"):
        resume(folder)
    moved = f"evaluation.functions={place}/moved.py:kappa"
    run = resume(folder, load_recipe(folder / "recipe.yaml", [moved]), inexact=True)
    manifest = json.loads(RunFolder(folder).manifest.read_text(encoding="utf-8"))

    assert run.after["kappa"] >= 4
    assert [change["is_exact"] for change in manifest["changes"]] == [True, False]
    assert resume(folder).after == run.after  # what was accepted is no change


@pytest.mark.slow
def test_the_same_functions_may_lie_elsewhere(place: Path) -> None:
    whole = train(load_recipe(place / "recipe.yaml", ["output.name=whole"]))
    folder = interrupted(load_recipe(place / "recipe.yaml"))
    file = (place / "my_metrics.py").rename(place / "moved.py")
    moved = load_recipe(folder / "recipe.yaml", [f"evaluation.functions={file}:kappa"])
    assert resume(folder, moved).after == whole.after


@pytest.mark.slow
def test_seeds_go_on_with_the_very_functions_that_they_began_with(place: Path) -> None:
    recipe = load_recipe(place / "recipe.yaml", ["training.seeds=2", "training.epochs=1"])

    def pull_at_the_second(event: Event) -> None:
        if isinstance(event, Saved) and "seed-43" in str(event.folder):
            raise PulledTheCableError

    with pytest.raises(PulledTheCableError):
        train(recipe, listeners=[pull_at_the_second])
    folder = Path(recipe.output.folder) / "own"
    (place / "my_metrics.py").write_text(f"{KAPPA}\n")
    with pytest.raises(RunError, match="A metric of the run has changed since the run began"):
        resume(folder)
    (place / "my_metrics.py").write_text(KAPPA)
    assert "kappa" in resume(folder).spreads["test"]["mean"]


def test_no_code_is_run_where_no_scores_are_made(place: Path, tmp_path: Path) -> None:
    """The process that pushes a run makes a model of it, perhaps on the Hub's word."""
    folder = interrupted(load_recipe(place / "recipe.yaml"))
    (place / "my_metrics.py").write_text("raise SystemExit")
    (tmp_path / "made").mkdir()
    write_model_so_far(RunFolder(folder), tmp_path / "made")
    assert (tmp_path / "made/model.safetensors").is_file()


def share(predictions: Any, labels: Any) -> dict[str, float]:
    return {"share": float((predictions == 1).mean())}


@pytest.mark.slow
def test_functions_of_a_program(place: Path) -> None:
    run = attuner.train(
        place / "recipe.yaml", "training.epochs=1", "training.best_metric=share",
        functions=[share], listeners=[],
    )  # fmt: skip
    assert "share" in run.after
    assert "kappa" not in run.after
    own = load_recipe(run.folder / "recipe.yaml").evaluation.functions
    assert own == [f"{__file__}:share"]
    again = load_recipe(place / "recipe.yaml", ["training.best_metric=null", "output.name=again"])
    other = attuner.train(again, functions=[f"{__file__}:share"], listeners=[])
    assert "share" in other.after


def test_translations_have_metrics_of_ones_own_too(tune: Tune, tmp_path: Path) -> None:
    file = tmp_path / "my_metrics.py"
    file.write_text(
        "def same(texts, references):\n"
        "    pairs = list(zip(texts, references, strict=True))\n"
        "    assert all(isinstance(listed, list) for _, listed in pairs)\n"
        '    return {"same": 100 * sum(text in listed for text, listed in pairs) / len(pairs)}\n'
    )
    run, _ = tune(
        f"evaluation.functions={file}:same", "training.best_metric=same", "training.epochs=2"
    )
    assert run.after["same"] >= run.before["same"]
    assert set(run.intervals["after"]) == {"same"}
    assert "| same | " in (run.model_folder / "README.md").read_text(encoding="utf-8")
    assert all("same" in event["scores"] for event in scored(run.folder))


@pytest.mark.parametrize("kind", ["multi", "rating"])
def test_other_kinds_of_labels(place: Path, kind: str) -> None:
    (place / "my_metrics.py").write_text(
        "import numpy as np\n\n"
        "def off(predictions, labels):\n"
        "    assert predictions.shape == labels.shape\n"
        '    return {"minus_off": -float(np.abs(predictions - labels).mean())}\n'
    )
    run: Run = train(
        load_recipe(
            place / "recipe.yaml",
            [
                "evaluation.functions=[]", f"evaluation.functions={place}/my_metrics.py:off",
                f"task.kind={kind}", f"task.label={'tags' if kind == 'multi' else 'stars'}",
                "training.best_metric=minus_off", "training.epochs=1",
            ],
        )
    )  # fmt: skip
    assert run.after["minus_off"] <= 0
