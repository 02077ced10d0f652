"""Target languages that a checkpoint cannot be told apart, or not in one run, are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import write_checkpoint

from attuner.errors import ModelError
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.origin import find_origin


def recipe(folder: Path, *overrides: str) -> Recipe:
    given = ["task={name: translation, source: en}", f"model={folder}", "data=three.csv"]
    return load_recipe(None, [*given, *overrides])


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("m2m100", "[fr, pt]"), ("nllb", "[fr, pt, sr]"), ("mbart50", "[fr, pt]"),
        ("t5", "[fr, pt]"), ("madlad", "[fr, pt]"), ("marian-multi", "[fr, pt-BR]"),
    ],
)  # fmt: skip
def test_languages_that_are_told_apart(kind: str, targets: str, tmp_path: Path) -> None:
    folder = write_checkpoint(kind, tmp_path / "origin")
    assert find_origin(recipe(folder, f"task.target={targets}")) is not None


@pytest.mark.parametrize(
    ("kind", "overrides", "names"),
    [
        ("mt5", ["task.target=[de, fr]"], "de and fr"),
        ("bart", ["task.target=[de, fr]"], "de and fr"),
        ("t5", ["task.target=[de, fr]", "task.prefix='go: '"], "de and fr"),
        ("m2m100", ["task.target=[de, pt-BR, pt-PT]"], "pt-BR and pt-PT"),
    ],
)
def test_languages_that_look_alike(
    kind: str, overrides: list[str], names: str, tmp_path: Path
) -> None:
    folder = write_checkpoint(kind, tmp_path / "origin")
    with pytest.raises(ModelError) as caught:
        find_origin(recipe(folder, *overrides))
    assert str(caught.value) == (
        f"{folder} is told the same for the target languages {names}: it could not know which one "
        "is wanted.\n"
        "Expected target languages that the checkpoint tells apart, by a token or by the family's "
        "words before each source (which task.prefix replaces).\n"
        "Name one of them in task.target, or take a checkpoint of many languages."
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["task.target=[fr, de]"],
        ["task.target=fr", "data.mix.sources=[{path: more.csv, target_language: de}]"],
    ],
)
def test_a_decoder_that_starts_with_the_language_learns_one(
    overrides: list[str], tmp_path: Path
) -> None:
    folder = write_checkpoint("mbart", tmp_path / "origin")
    with pytest.raises(ModelError) as caught:
        find_origin(recipe(folder, *overrides))
    assert str(caught.value) == (
        f"{folder} can be trained for one target language, not for fr and de.\n"
        "Its decoder starts with the target's language, and a model folder has one start.\n"
        "Train a run for each, or take a checkpoint that is told the language otherwise, such as "
        "facebook/mbart-large-50-many-to-many-mmt."
    )
    spelled = ["task.target=fr", "data.mix.sources=[{path: more.csv, target_language: fr-CA}]"]
    assert find_origin(recipe(folder, *spelled)) is not None
