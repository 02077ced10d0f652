"""The model that is made from checkpoints alone is the one that the run delivers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lessons import Tune

from attuner.errors import RunError
from attuner.training.folder import RunFolder
from attuner.training.snapshot import write_model_so_far


def content(path: Path) -> object:
    """A file's bytes; of peft's settings, which hold sets, what they say in any order."""
    if path.name != "adapter_config.json":
        return path.read_bytes()
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {key: sorted(it) if isinstance(it, list) else it for key, it in settings.items()}


def assert_is_the_model_of(delivered: Path, made: Path) -> None:
    """Only a card is missing: it tells of scores, which are known at the end."""
    files = sorted(path.name for path in made.iterdir())
    assert sorted([*files, "README.md", "card.json"]) == sorted(
        path.name for path in delivered.iterdir()
    )
    for name in files:
        assert content(delivered / name) == content(made / name), name


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.best_metric=loss"],
        ["training.evaluate=none"],
        ["training.ema.decay=0.9"],
        ["model.adapter={kind: lora, rank: 2}"],
        ["model.adapter={kind: lora, rank: 2, save: separate}"],
        ["model.freeze=[encoder]"],
    ],
)
def test_it_is_what_is_delivered(tune: Tune, tmp_path: Path, overrides: list[str]) -> None:
    run, _ = tune("training.precision=fp32", "training.epochs=2", *overrides)
    made = tmp_path / "made"
    made.mkdir()
    write_model_so_far(RunFolder(run.folder), made)

    assert_is_the_model_of(run.model_folder, made)


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        write_model_so_far(RunFolder(tmp_path), tmp_path / "made")
    assert str(caught.value) == (
        f"{tmp_path} has no checkpoint.\nA model so far is made from the latest ones."
    )
