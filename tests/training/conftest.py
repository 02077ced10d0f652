from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from lessons import LESSONS, Tune

from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.events import Event, Listener
from attuner.training.run import Run, train


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    path = tmp_path / "lessons.jsonl"
    rows = [{"translation": {"en": en, "fr": fr}} for en, fr in LESSONS.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def lesson_recipe(marian: Path, lessons: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Tune the tiny model on the lessons, which are validation and final split, too."""

    def build(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                "task.name=translation", "task.source=en", "task.target=fr",
                f"model={marian}", f"data.train={lessons}", f"data.validation={lessons}",
                "data.split.by=random", "data.split.test=0", "training.epochs=3",
                "training.batch_examples=4", "training.learning_rate=0.003",
                "generation.num_beams=1", "generation.max_new_tokens=40",
                f"output.folder={tmp_path}/runs", "output.name=test", *overrides,
            ],
        )  # fmt: skip

    return build


@pytest.fixture
def tune(lesson_recipe: Callable[..., Recipe]) -> Tune:
    """Run that recipe; returns the run and its events."""

    def run(*overrides: str, listeners: Sequence[Listener] = ()) -> tuple[Run, list[Event]]:
        events: list[Event] = []
        recipe = lesson_recipe(*overrides)
        return train(recipe, listeners=[events.append, *listeners]), events

    return run
