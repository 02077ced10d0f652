from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.server import Hub
from lessons import LESSONS

from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.folder import RunFolder

Build = Callable[..., Recipe]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that processes which are started from now on take for the real one."""
    with Hub() as running:
        for name, value in running.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.fixture
def build(marian: Path, tmp_path: Path) -> Build:
    """A recipe that tunes the tiny model on the lessons, in two epochs of three updates."""
    data = tmp_path / "lessons.jsonl"
    rows = [{"en": en, "fr": fr} for en, fr in LESSONS.items()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def recipe(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                "task.name=translation", "task.source=en", "task.target=fr",
                f"model={marian}", f"data.train={data}", f"data.validation={data}",
                "data.split.by=random", "data.split.test=0", "training.epochs=2",
                "training.batch_examples=4", "training.learning_rate=0.003",
                "training.precision=fp32", "training.best_metric=loss",
                "generation.num_beams=1", "generation.max_new_tokens=10",
                "output.name=tuned", *overrides,
            ],
        )  # fmt: skip

    return recipe


@pytest.fixture
def run(build: Build, marian: Path, tmp_path: Path) -> RunFolder:
    """The folder of a run that is over, without any training; its model is the tiny one."""
    folder = RunFolder(tmp_path / "runs" / "tuned")
    shutil.copytree(marian, folder.model)
    folder.recipe.write_text(dump_recipe(build()), encoding="utf-8")
    folder.manifest.write_text("{}", encoding="utf-8")
    folder.metrics.write_text("{}\n", encoding="utf-8")
    return folder
