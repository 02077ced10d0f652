"""A run on a checkpoint of each family delivers a folder that translates as it was tuned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import KINDS, write_checkpoint

import attuner
from attuner.data.line_pairs import training_pairs
from attuner.errors import ModelError
from attuner.evaluation.evaluate import evaluate
from attuner.models.loading import load_seq2seq
from attuner.models.usage import load_codec_between
from attuner.recipe import Recipe
from attuner.tasks.translation import TranslationTask, encode
from attuner.training.data import prepare_data
from attuner.training.events import Evaluated, Event
from attuner.training.run import train
from attuner.training.scoring import token_loss

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rate"), [("nllb", 0.3), ("mbart", 0.3), ("t5", 3.0), ("bart", 0.3)]
)
def test_the_best_weights_are_delivered_and_scored(
    kind: str, rate: float, lesson_recipe: Callable[..., Recipe], tmp_path: Path, cache: Path
) -> None:
    origin = write_checkpoint(kind, tmp_path / "origin")
    recipe = lesson_recipe(
        f"model={origin}", "model.self_check=warn", "training.precision=fp32",
        "training.best_metric=loss", "training.schedule=constant", "training.epochs=5",
        f"training.learning_rate={rate}", f"output.name={kind}",
    )  # fmt: skip
    run = train(recipe)
    losses = [event["scores"]["loss"] for event in run.epochs if event["when"] == "epoch"]
    examples = prepare_data(recipe).validation
    model, codec = load_seq2seq(run.model_folder), load_codec_between(run.model_folder)
    features = encode(list(training_pairs(examples)), codec).features
    task = TranslationTask(model)
    with task.prepared(model):
        loss = token_loss(model, task, features, torch.device("cpu"))
    found = evaluate(attuner.load(run.folder), examples, num_beams=1, max_new_tokens=40)

    assert min(losses) < losses[-1]  # at such a rate the last weights are not the best
    assert loss == pytest.approx(min(losses), rel=1e-4)
    assert dict(run.after) == pytest.approx({"loss": loss, **found.scores}, rel=1e-4)


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
