"""A run on a checkpoint of each family delivers a folder that translates as it was tuned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import KINDS, write_checkpoint

import attuner
from attuner.errors import ModelError
from attuner.recipe import Recipe
from attuner.training.events import Evaluated, Event
from attuner.training.run import train

TEXTS = ["Open the file", "Close all windows", "Delete file?"]


def plain_translations(folder: Path, prefix: str) -> list[str]:
    """What transformers makes of the delivered folder, told nothing."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    batch = tokenizer([prefix + text for text in TEXTS], return_tensors="pt", padding=True)
    end = tokenizer.eos_token_id  # at the limit our engines end a text, and so shall this
    made = model.generate(**batch, num_beams=1, max_new_tokens=40, forced_eos_token_id=end)
    return [
        text.strip()
        for text in tokenizer.batch_decode(
            made, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    ]


def overrides(kind: str, folder: Path, epochs: int) -> list[str]:
    return [
        f"model={folder}", f"training.epochs={epochs}", "training.learning_rate=0.01",
        "training.evaluate=none", "training.precision=fp32", f"output.name={kind}",
        "model.self_check=warn",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_delivers_its_direction(
    kind: str, lesson_recipe: Callable[..., Recipe], tmp_path: Path, cache: Path
) -> None:
    origin = write_checkpoint(kind, tmp_path / "origin")
    events: list[Event] = []
    run = train(lesson_recipe(*overrides(kind, origin, 60)), listeners=[events.append])
    assert run.after["loss"] < 0.7 * run.before["loss"]
    engines = {e.signatures["engine"] for e in events if isinstance(e, Evaluated)}
    assert [engine.split()[0] for engine in engines] == ["ctranslate2"]
    lines = (run.folder / "translations.jsonl").read_text().splitlines()
    before = [json.loads(line)["before"] for line in lines]
    prefix = json.loads((run.model_folder / "attuner.json").read_text())["prefix"]
    assert prefix == KINDS[kind].prefix
    expected = plain_translations(run.model_folder, prefix)
    for engine in ("ctranslate2", "transformers"):
        model = attuner.load(run.folder, engine=engine)
        made = model.translate(TEXTS, num_beams=1, max_new_tokens=40)
        assert [text.strip() for text in made] == expected
    assert len({*expected, *before}) > 1


def test_a_wrong_language_stops_before_the_data_are_read(
    lesson_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    origin = write_checkpoint("mbart", tmp_path / "origin")
    changed: Any = lesson_recipe(f"model={origin}", "task.target=lb", "data.train=missing.csv")
    with pytest.raises(ModelError, match='does not know the target language "lb"'):
        train(changed)
    assert not (tmp_path / "runs").exists()


def test_words_of_ones_own_reach_the_delivered_folder(
    lesson_recipe: Callable[..., Recipe], tmp_path: Path, cache: Path
) -> None:
    origin = write_checkpoint("mt5", tmp_path / "origin")
    given = [*overrides("words", origin, 1), 'task.prefix="now: "']
    run = train(lesson_recipe(*given))
    assert attuner.load(run.folder).engine.codec.source_prefix == "now: "
