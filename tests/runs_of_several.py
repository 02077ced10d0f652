"""Runs of several processes, and what they have to be like."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lessons import LESSONS
from several import environment, output, torchrun, wait_until
from tiny_classifiers import reviews, write_encoder

from attuner.training.folder import RunFolder

# Starts `attuner train` as so many processes.
How = Callable[..., "subprocess.Popen[str]"]

# A process that was killed ends the others with this.
LOST = (
    "Process {} has ended without a word: it was killed, or its machine is gone.\n"
    "A run goes on only while all of its processes do: the others have ended, too.\n"
    "Start it again as before, with --resume: it goes on from its last checkpoint.\n"
)


def whole(num: int, place: Path, *words: str) -> subprocess.Popen[str]:
    """Start `attuner train` with the whole model on each process."""
    return torchrun(num, "-m", "attuner", "train", *words, folder=place)


def write_recipes(folder: Path, marian: Path) -> None:
    """Write a recipe to translate and one to classify; updates are uneven."""
    rows = [{"translation": {"en": en, "fr": fr}} for en, fr in LESSONS.items()]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "lessons.jsonl").write_text(lines, encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "task: {name: translation, source: en, target: fr}\n"
        f"model: {marian}\n"
        "data:\n"
        "  train: lessons.jsonl\n"
        "  validation: lessons.jsonl\n"
        "  split: {by: random, test: 0}\n"
        "training: {epochs: 3, batch_examples: 4, learning_rate: 0.003, precision: fp32}\n"
        "generation: {num_beams: 1, max_new_tokens: 40}\n",
        encoding="utf-8",
    )
    (folder / "encoder").mkdir()
    write_encoder(folder / "encoder")
    reviews(folder / "reviews.csv")
    (folder / "moods.yaml").write_text(
        "task: {name: classification, text: review, label: mood}\n"
        f"model: {folder / 'encoder'}\n"
        "data: {train: reviews.csv, duplicates: keep, split: {test: 0.2, validation: 0.2}}\n"
        "training:\n"
        "  {epochs: 6, batch_examples: 7, learning_rate: 0.005, precision: fp32,\n"
        "   early_stopping: {patience: 2}}\n",
        encoding="utf-8",
    )


def alone(place: Path, *words: str) -> RunFolder:
    """Train with one process."""
    command = [sys.executable, "-m", "attuner", "train", *words]
    done = subprocess.run(
        command, cwd=place, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder_of(place, words)


def several(num: int, place: Path, *words: str, how: How = whole) -> tuple[RunFolder, str]:
    """Train with several processes; returns the run and what was printed."""
    return folder_of(place, words), output(how(num, place, *words))


def folder_of(place: Path, words: tuple[str, ...]) -> RunFolder:
    name = next(word for word in words if word.startswith("output.name=")).split("=")[1]
    return RunFolder(place / "runs" / name)


def events(run: RunFolder, kind: str) -> Iterator[dict[str, Any]]:
    return (event for event in run.events() if event["event"] == kind)


def assert_same_run(found: RunFolder, one: RunFolder) -> None:
    """A run of several processes is that of one: losses, norms, scores, predictions, files."""
    for ours, wanted in zip(events(found, "stepped"), events(one, "stepped"), strict=True):
        assert ours["loss"] == pytest.approx(wanted["loss"], rel=1e-6)
        assert ours["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-5)
        for same in ("num_examples", "num_target_tokens", "epoch", "learning_rate"):
            assert ours[same] == wanted[same]
    for ours, wanted in zip(events(found, "evaluated"), events(one, "evaluated"), strict=True):
        assert ours["scores"] == pytest.approx(wanted["scores"], rel=1e-6)
        assert ours["is_best"] == wanted["is_best"]
    assert [e["reason"] for e in events(found, "finished")] == [
        e["reason"] for e in events(one, "finished")
    ]
    kept = one.translations if one.translations.exists() else one.predictions
    rows, wanted_rows = (
        [json.loads(line) for line in (run.path / kept.name).read_text().splitlines()]
        for run in (found, one)
    )
    assert [row["address"] for row in rows] == [row["address"] for row in wanted_rows]
    for when in ("before", "after"):
        assert [label(row[when]) for row in rows] == [label(row[when]) for row in wanted_rows]
    assert sorted(path.name for path in found.path.iterdir()) == sorted(
        path.name for path in one.path.iterdir()
    )


def label(said: Any) -> Any:
    return said["label"] if isinstance(said, dict) else said


LONG = (
    "recipe.yaml", "training.max_steps=120", "training.evaluate=none", "model.dropout=0.2",
    "training.save=steps", "training.save_every_steps=50", "training.schedule=constant",
)  # fmt: skip


def started(num: int, place: Path, *words: str, how: How = whole) -> Any:
    """A run that has made ten updates, and is far from its end."""
    running = how(num, place, *words)
    run = folder_of(place, words)
    wait_until(lambda: run.metrics.exists() and '"step": 10,' in run.metrics.read_text(), running)
    return running, run
