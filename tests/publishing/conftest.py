"""Runs to hand on: tuned models, an adapter, a classifier; and a Hub to push to."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.server import Hub
from lessons import LESSONS
from pairs import PAIRS
from tiny_classifiers import reviews, write_encoder

from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.folder import RunFolder
from attuner.training.run import Run, train

Build = Callable[..., Recipe]
Tune = Callable[..., Run]


@pytest.fixture(scope="session")
def tune(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> Tune:
    """Tune the model on what it knows already; what is held out is the same."""

    def run(*overrides: str, pairs: dict[str, str] = PAIRS) -> Run:
        folder = tmp_path_factory.mktemp("run")
        data = folder / "pairs.jsonl"
        rows = [{"translation": {"en": en, "fr": fr}} for en, fr in pairs.items()]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return train(
            load_recipe(
                None,
                [
                    "task.name=translation", "task.source=en", "task.target=fr", f"model={marian}",
                    f"data.train={data}", f"data.validation={data}", "data.split.test=0",
                    "data.split.by=random", "training.epochs=1", "training.learning_rate=1e-9",
                    "generation.num_beams=1", "generation.max_new_tokens=40",
                    f"output.folder={folder}/runs", "output.name=test", *overrides,
                ],
            )
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def tuned(tune: Tune) -> Run:
    return tune()


@pytest.fixture(scope="session")
def adapted(tune: Tune) -> Run:
    """An adapter, delivered alone, that translates otherwise than its base."""
    return tune(
        "model.adapter.kind=lora", "model.adapter.save=separate", "training.epochs=40",
        "training.learning_rate=0.01", "training.batch_examples=5",
        pairs={source: target.upper() for source, target in PAIRS.items()},
    )  # fmt: skip


@pytest.fixture(scope="session")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier that has learned which reviews are good."""
    folder = tmp_path_factory.mktemp("moods")
    return train(
        load_recipe(
            None,
            [
                "task.name=classification", "task.text=review", "task.label=mood",
                f"model={write_encoder(folder / 'encoder')}",
                f"data.train={reviews(folder / 'reviews.csv')}", "data.duplicates=keep",
                "training.epochs=6", "training.batch_examples=8", "training.learning_rate=0.005",
                "training.precision=fp32", f"output.folder={folder}/runs", "output.name=moods",
            ],
        )
    )  # fmt: skip


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """The pairs as a table."""
    path = tmp_path / "held-out.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("en", "fr"), *PAIRS.items()])
    return path


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
