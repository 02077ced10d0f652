"""General text mixed into training: its share, what is left out of it, where it is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attuner.errors import DataError
from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.check import check
from attuner.training.data import data_files, prepare_data
from attuner.training.origin import find_origin
from attuner.training.parts import encode_parts
from attuner.training.run import train
from attuner.training.setup import build_plan

Build = Callable[..., Recipe]


@pytest.fixture
def general(tmp_path: Path) -> Path:
    """A hundred general pairs, one of which says what validation says."""
    path = tmp_path / "general.csv"
    rows = "".join(f"the kernel {n},le noyau {n}\n" for n in range(99))
    path.write_text(f"en,fr\n{rows}OPEN the file,Ouvrir\n", encoding="utf-8")
    return path


@pytest.fixture
def mixing(lesson_recipe: Build, general: Path) -> Build:
    def build(*overrides: str) -> Recipe:
        mix = f"data.mix={{sources: {general}, share: 0.25}}"
        return lesson_recipe(mix, "model.self_check=warn", *overrides)

    return build


def test_general_text_is_learned_and_never_held_out(mixing: Build) -> None:
    prepared = prepare_data(mixing())
    assert prepared.counts["split"] == {"train": 8, "validation": 8, "test": 0, "mix": 99}
    assert prepared.counts["skipped"] == {"mixed in, but in validation or test": 1}
    read = sum(prepared.counts["read"].values())
    counted = prepared.counts["split"].values(), prepared.counts["skipped"].values()
    assert read == sum(map(sum, counted)) == 116
    assert len(prepared.train) == 8 + 99
    assert all(example.source.startswith("the kernel") for example in prepared.train[8:])
    assert "Mixed in  3 of 99 examples of general text in an epoch, 25 % of what it sees" in (
        prepared.notes
    )


@pytest.mark.parametrize("share", [0.25, 0.8, 0.95])
def test_its_share_of_an_epoch_is_that_asked_for(mixing: Build, share: float) -> None:
    recipe = mixing(f"data.mix.share={share}")
    origin = find_origin(recipe)
    assert origin is not None
    features, _, _ = encode_parts(recipe, prepare_data(recipe), origin, lambda event: None)
    plan = build_plan(recipe, features, is_packed=True)
    seen, shares = set(), []
    for epoch in range(40):
        rows = features.example[np.concatenate(plan._updates(epoch))]
        shares.append((rows >= 8).mean())
        seen.add(tuple(sorted(rows[rows >= 8])))
        assert set(range(8)) <= set(rows)  # all others are seen in each epoch
    wanted = 8 * share / (1 - share)  # examples; the lessons have a ninth line
    assert np.mean(shares) == pytest.approx(wanted / (9 + wanted), abs=0.03)
    assert len(seen) > 30  # each epoch sees others


def test_its_sources_have_weights_among_themselves(mixing: Build, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("en,fr\nDelete all,Supprimer\n", encoding="utf-8")
    sources = f"[{{path: {other}, weight: 33}}, {{path: {tmp_path}/general.csv}}]"
    prepared = prepare_data(mixing(f"data.mix.sources={sources}", "data.validation=null",
                                   "data.split={validation: 0, test: 0}"))  # fmt: skip
    mixed = prepared.train[8:]
    assert mixed[0].weight == pytest.approx(33 * mixed[1].weight)
    assert sum(example.weight for example in mixed) == pytest.approx(8 / 3)


@pytest.mark.slow
def test_a_run_keeps_book_of_it(mixing: Build, general: Path) -> None:
    recipe = mixing("training.epochs=2", "training.evaluate=none")
    assert general in data_files(recipe)
    run = train(recipe)
    assert run.counts["split"]["mix"] == 99
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert str(general) in manifest["data"]
    rows = [json.loads(line) for line in (run.folder / "translations.jsonl").open()]
    assert not any(row["source"].startswith("the kernel") for row in rows)
    checked = check(recipe)
    assert checked.inspection is not None
    assert checked.inspection.counts["split"]["mix"] == 99
    assert checked.inspection.num_pairs == 9 + 99


def test_nothing_left_to_mix_in(mixing: Build, lessons: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare_data(mixing(f"data.mix.sources={lessons}"))
    assert str(caught.value) == (
        "No pair is left for mix.sources: 8 entries were read and all were skipped (8 mixed in, "
        "but in validation or test).\n"
        "Every part needs entries that have a source text and a finished translation.\n"
        "Name other files in data.mix.sources."
    )


def test_overrides_reach_its_sources(tmp_path: Path, mixing: Build) -> None:
    recipe = mixing("data.mix.sources[0].encoding=latin-1")
    assert recipe.data.mix is not None
    assert recipe.data.mix.sources[0].encoding == "latin-1"
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
