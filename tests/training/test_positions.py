"""Texts that are longer than a model has positions for: cut, counted and said, never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import attuner
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.check import check
from attuner.training.events import Event, Noted
from attuner.training.origin import find_origin, within_positions
from attuner.training.run import train

LONG = "Open the file and close all windows now "
SAID = (
    "The model has positions for 64 tokens: data.max_source_tokens=300, "
    "data.max_target_tokens=300, generation.max_new_tokens=128; these are taken as 64."
)

Build = Callable[..., Recipe]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    rows = [("Open the file", "Ouvrir le fichier"), (LONG * 20, "Fermer toutes les fenêtres " * 20)]
    path = tmp_path / "long.jsonl"
    lines = [json.dumps({"source": source, "target": target}) + "\n" for source, target in rows]
    path.write_text("".join(lines), encoding="utf-8")

    def recipe(kind: str, task: str) -> Recipe:
        folder = write_checkpoint(kind, tmp_path / "origin")
        return load_recipe(
            None,
            [
                f"task={task}", f"model={folder}", "model.self_check=warn",
                f"data={{train: {path}, validation: {path}, split: {{by: random, test: 0}}}}",
                "data.max_source_tokens=300", "data.max_target_tokens=300",
                "training={max_steps: 1, precision: fp32}", "generation.num_beams=1",
                f"output.folder={tmp_path}/runs",
            ],
        )  # fmt: skip

    return recipe


@pytest.mark.parametrize("kind", ["marian-multi", "bart", "mbart", "m2m100", "pegasus"])
def test_long_lines_are_cut_to_the_positions(kind: str, build: Build, cache: Path) -> None:
    events: list[Event] = []
    recipe = build(kind, "{name: translation, source: en, target: fr}")
    run = train(recipe, listeners=[events.append])
    notes = [event.text for event in events if isinstance(event, Noted)]
    assert notes[0] == SAID
    assert run.counts["cut"] == dict.fromkeys(
        ("train source", "train target", "validation source", "validation target"), 1
    )
    assert attuner.load(run.folder).translate(LONG * 20) is not None


@pytest.mark.parametrize("kind", ["bart", "mbart"])
def test_long_texts_are_cut_to_the_positions(kind: str, build: Build, cache: Path) -> None:
    recipe = build(kind, "{name: text-to-text, metrics: [chrf], prefix: 'short: '}")
    run = train(recipe)
    assert run.counts["cut"]["train source"] == 1
    assert attuner.load(run.folder).translate(LONG * 20) is not None


def test_a_check_counts_with_the_positions(build: Build, cache: Path) -> None:
    checked = check(build("bart", "{name: translation, source: en, target: fr}"))
    assert checked.inspection is not None
    assert SAID in checked.inspection.notes
    assert {row.limit for row in checked.inspection.lengths} == {64}
    assert [row.num_too_long for row in checked.inspection.lengths] == [1, 1, 1, 1]


def test_relative_positions_have_no_end(build: Build, cache: Path) -> None:
    recipe = build("t5", "{name: translation, source: en, target: fr}")
    origin = find_origin(recipe)
    assert origin is not None
    assert within_positions(recipe, origin) == (recipe, [])
    assert train(recipe).counts["cut"]["train source"] == 1  # by the recipe's own 300
