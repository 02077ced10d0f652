"""A second run takes its token ids from the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attuner.data.features import SequencePairs
from attuner.recipe import Recipe
from attuner.training.data import prepare_data
from attuner.training.events import Event, Progressed
from attuner.training.origin import find_origin
from attuner.training.parts import encode_parts

Build = Callable[..., Recipe]


def encoded(recipe: Recipe) -> tuple[SequencePairs, dict[str, dict[str, int]], bool]:
    """The training features, the counts, and whether anything was tokenised."""
    events: list[Event] = []
    train, parts, counts = encode_parts(
        recipe, prepare_data(recipe), find_origin(recipe), events.append
    )
    assert list(parts) == ["validation"]
    return train, counts, any(isinstance(event, Progressed) for event in events)


def test_the_second_run_does_not_tokenise(lesson_recipe: Build, cache: Path) -> None:
    recipe = lesson_recipe("data.max_source_tokens=16")
    first, counts, tokenised = encoded(recipe)
    assert tokenised
    assert counts["cut"]["train source"] > 0
    second, again, tokenised = encoded(recipe)
    assert not tokenised
    assert again == counts
    for rows in (np.arange(len(first)), np.array([3, 0])):
        for ours, theirs in ((second.source, first.source), (second.target, first.target)):
            np.testing.assert_array_equal(ours.take(rows)[0], theirs.take(rows)[0])


@pytest.mark.parametrize(
    "override", ["data.max_source_tokens=5", "data.max_target_tokens=5", "data.too_long=skip"]
)
def test_other_options_are_tokenised_anew(lesson_recipe: Build, cache: Path, override: str) -> None:
    encoded(lesson_recipe("data.max_source_tokens=16"))
    assert encoded(lesson_recipe("data.max_source_tokens=16", override))[2]


def test_other_texts_are_tokenised_anew(lesson_recipe: Build, lessons: Path, cache: Path) -> None:
    encoded(lesson_recipe())
    lessons.write_text(lessons.read_text(encoding="utf-8").replace("Open", "Close"), "utf-8")
    assert encoded(lesson_recipe())[2]


def test_another_tokenizer_tokenises_anew(
    lesson_recipe: Build, marian: Path, tmp_path: Path, cache: Path
) -> None:
    encoded(lesson_recipe())
    copied = tmp_path / "copied"
    shutil.copytree(marian, copied)
    assert not encoded(lesson_recipe(f"model={copied}"))[2]
    (copied / "vocab.json").write_text((copied / "vocab.json").read_text() + " ")
    assert encoded(lesson_recipe(f"model={copied}"))[2]


def test_without_a_cache_nothing_is_kept(lesson_recipe: Build, cache: Path) -> None:
    for _ in range(2):
        assert encoded(lesson_recipe("data.cache=false"))[2]
    assert not any(cache.rglob("*"))  # temporary files have no name
