"""Several seeds of a translation: spreads, what is delivered, what is cleaned up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import pytest
from lessons import Tune

from attuner.errors import RunError, UserError
from attuner.recipe import Recipe
from attuner.training.events import Delivered, Noted, SeedsCompared
from attuner.training.run import resume, train


def test_translations_are_trained_with_several_seeds(tune: Tune, lessons: Path) -> None:
    run, events = tune("training.seeds=2", "training.epochs=2", "training.seed=7")

    compared = next(event for event in events if isinstance(event, SeedsCompared))
    assert compared.seeds == (7, 8)
    assert [e.text for e in events if isinstance(e, Noted) and e.text.startswith("Seed ")] == [
        "Seed 7, 1 of 2:", "Seed 8, 2 of 2:",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "seeds.jsonl").open(encoding="utf-8")]
    last = [row["epochs"][-1]["scores"]["chrf"] for row in rows]
    spread = compared.spreads["validation, last epoch"]
    assert spread.mean["chrf"] == pytest.approx(mean(last))
    assert spread.deviation["chrf"] == pytest.approx(stdev(last))
    assert "test" not in compared.spreads  # only validation is held out
    assert [type(event) for event in events].count(Delivered) == 1
    delivered = events[-1]
    assert isinstance(delivered, Delivered)
    assert delivered.model_folder == run.folder / "model" == run.model_folder
    assert delivered.usage["in a shell"].startswith(f"attuner translate {run.folder}/model ")
    assert {path.name for path in run.folder.iterdir()} == {
        "recipe.yaml", "seeds.jsonl", "seed-7", "seed-8", "model",
    }  # fmt: skip

    with lessons.open("a", encoding="utf-8") as file:
        file.write('{"translation": {"en": "New", "fr": "Nouveau"}}\n')
    with pytest.raises(RunError) as caught:
        resume(run.folder)
    assert caught.value.happened.startswith(f"{lessons} has changed since the run began")


def test_seeds_that_fail_leave_nothing_behind(
    lesson_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(UserError):
        train(lesson_recipe("training.seeds=2", "data.train=nothing.po"))
    assert not (tmp_path / "runs").exists()


def test_seeds_need_validation(lesson_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(UserError) as caught:
        lesson_recipe("training.seeds=2", "training.evaluate=none")
    assert "training: seeds: the best is chosen on validation, which evaluate: none skips." in str(
        caught.value
    )
