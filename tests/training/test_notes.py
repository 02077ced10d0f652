"""What a run counts, says and refuses beside its scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import Tune

from attuner.errors import DataError, ModelError, RunError
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.check import check
from attuner.training.data import hub_data, prepare_data
from attuner.training.events import Event, Noted, Planned, Progressed, Saved
from attuner.training.origin import load_model
from attuner.training.run import train

Build = Callable[..., Recipe]

TOO_LONG = (
    "No pair of lines is left for training of 8 examples: pairs of lines that are too long 9.\n"
    "Expected pairs of lines with at most data.max_source_tokens=2 and data.max_target_tokens=64 "
    "tokens.\n"
    "Raise them, or set data.too_long=cut: lines are then cut and counted."
)
UNPAIRED = (
    "No pair of lines is left for training of 2 examples: sides with different numbers of lines "
    "2.\n"
    "Expected examples whose two sides have as many lines.\n"
    "Name files in data.train that hold such."
)


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


@pytest.fixture
def unpaired(tmp_path: Path) -> Path:
    path = tmp_path / "unpaired.jsonl"
    rows = [{"en": f"one\ntwo {n}", "fr": f"un {n}"} for n in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("do", [train, check])
def test_no_pair_that_is_short_enough(lesson_recipe: Build, do: Callable[[Recipe], object]) -> None:
    with pytest.raises(DataError) as caught:
        do(lesson_recipe("data.too_long=skip", "data.max_source_tokens=2"))
    assert str(caught.value) == TOO_LONG


@pytest.mark.parametrize("do", [train, check])
def test_no_example_with_equally_many_lines(
    lesson_recipe: Build, unpaired: Path, do: Callable[[Recipe], object]
) -> None:
    with pytest.raises(DataError) as caught:
        do(lesson_recipe(f"data.train={unpaired}"))
    assert str(caught.value) == UNPAIRED


def test_both_reasons_for_no_pair(lesson_recipe: Build, unpaired: Path) -> None:
    with unpaired.open("a", encoding="utf-8") as file:
        file.write('{"en": "Open the file", "fr": "Ouvrir"}\n')
    with pytest.raises(DataError) as caught:
        train(
            lesson_recipe(
                f"data.train={unpaired}", "data.too_long=skip", "data.max_source_tokens=2"
            )
        )
    assert caught.value.happened == (
        "No pair of lines is left for training of 3 examples: sides with different numbers of "
        "lines 2, pairs of lines that are too long 1."
    )


def test_lines_that_are_cut_are_counted_in_all_parts(tune: Tune) -> None:
    run, events = tune("data.max_source_tokens=6", "data.max_target_tokens=7")

    assert run.counts["cut"] == {
        "train source": 9, "train target": 8, "validation source": 9, "validation target": 8,
    }  # fmt: skip
    assert set(run.counts) == {"read", "skipped", "split", "cut"}
    (note,) = [note for note in notes(events) if note.startswith("Lines cut")]
    listed = ", ".join(f"{name} {n}" for name, n in run.counts["cut"].items())
    assert note == (f"Lines cut (data.max_source_tokens=6, data.max_target_tokens=7): {listed}.")


def test_lines_skipped_in_training_are_cut_and_scored_in_validation(tune: Tune) -> None:
    run, events = tune("data.max_source_tokens=16", "data.too_long=skip")

    num_skipped = run.counts["too long"]["train"]
    assert 0 < num_skipped < 9
    assert run.counts["cut"] == {"validation source": num_skipped}
    planned = next(event for event in events if isinstance(event, Planned))
    assert planned.num_examples == 9 - num_skipped
    assert (
        "Pairs of lines left out as too long (data.max_source_tokens=16, "
        f"data.max_target_tokens=64): train {num_skipped}."
    ) in notes(events)


def test_a_warm_up_that_does_not_end_is_said(tune: Tune) -> None:
    said = (
        "training.warmup_steps=2 are as many as the run's 2 steps or more: the learning rate never "
        "reaches 0.003."
    )
    for steps, is_said in ((2, True), (3, False)):
        _, events = tune(
            f"training.max_steps={steps}", "training.warmup_steps=2", f"output.name=of-{steps}"
        )
        assert (said in notes(events)) is is_said


def test_max_steps_are_told_in_epochs(tune: Tune) -> None:
    run, events = tune("training.max_steps=2", "training.evaluate=none")

    planned = next(event for event in events if isinstance(event, Planned))
    assert (planned.num_steps, planned.num_epochs) == (2, pytest.approx(2 / 3))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").open(encoding="utf-8")]
    (after,) = [line for line in lines if line.get("when") == "after"]
    assert (after["step"], after["epoch"]) == (2, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (
            ["training.early_stopping.patience=2", "training.best_metric=loss"],
            "training.early_stopping and training.best_metric have no effect",
        ),
        (["training.best_metric=bleu"], "training.best_metric has no effect"),
        ([], None),
    ],
)
def test_choices_without_validation_are_not_ignored_silently(
    lesson_recipe: Build, overrides: list[str], note: str | None
) -> None:
    class EnoughError(Exception):
        pass

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Planned):
            raise EnoughError

    recipe = lesson_recipe("data.split.validation=0", *overrides)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": None})})
    with pytest.raises(EnoughError):
        train(recipe, listeners=[listen])

    why = "There are no validation examples"
    expected = [f"{why}: {note}, the last weights are delivered."] if note else []
    assert [text for text in notes(events) if text.startswith(why)] == expected


def test_reading_tells_its_progress(lesson_recipe: Build) -> None:
    events: list[Event] = []
    check(lesson_recipe(), row=1, listener=events.append)

    assert Progressed("reading", 8, 0) in events


def test_a_model_that_is_not_there_is_named_before_data_are_read(
    lesson_recipe: Build, tmp_path: Path
) -> None:
    recipe = lesson_recipe(f"model={tmp_path}/nowhere", "data.train=nowhere.po")
    for do in (train, check):
        with pytest.raises(ModelError) as caught:
            do(recipe)
        assert caught.value.happened == f"{tmp_path}/nowhere: no such folder."


def test_a_failed_first_run_leaves_no_folder_that_it_made(
    lesson_recipe: Build, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError):
        train(lesson_recipe("data.train=nowhere.po", f"output.folder={tmp_path}/mine/new/runs"))

    assert list((tmp_path / "mine").iterdir()) == []


def test_a_diverged_run_is_not_delivered(
    lesson_recipe: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/test"
    models = []

    def load(*given: Any) -> Any:
        models.append(load_model(*given))
        return models[-1]

    def spoil(event: Event) -> None:
        if isinstance(event, Saved):
            with torch.no_grad():
                models[0].get_output_embeddings().weight.fill_(float("inf"))

    monkeypatch.setattr("attuner.training.jobs.text.load_model", load)
    with pytest.raises(RunError) as caught:
        train(lesson_recipe("training.evaluate=none"), listeners=[spoil])

    last = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    examples = ", ".join(json.loads(last)["examples"])
    assert str(caught.value) == (
        "Step 4: the loss is nan, at a learning rate of 0.002.\n"
        f"Its examples: {examples}.\n"
        "Expected finite and moderate numbers: the training has diverged, the update was not "
        f"made. The last good checkpoint is {folder}/checkpoints/step-000003; all examples of the "
        f"update are in {folder}/metrics.jsonl.\n"
        "Start again with a lower rate, such as training.learning_rate=0.001, or go on without "
        f"such updates: attuner train --resume {folder} training.on_bad_loss=skip"
    )
    assert not (folder / "model").exists()


def test_a_taken_folder_with_a_checkpoint_can_be_gone_on_with(
    lesson_recipe: Build, tmp_path: Path
) -> None:
    taken = tmp_path / "runs/test"
    (taken / "checkpoints/step-000001").mkdir(parents=True)
    (taken / "checkpoints/step-000001/state.json").touch()
    with pytest.raises(RunError) as caught:
        train(lesson_recipe())

    assert str(caught.value) == (
        f"{taken} exists already.\n"
        "A run needs a folder of its own; nothing is overwritten.\n"
        "Choose another name with output.name=..., or go on with it: "
        f"attuner train --resume {taken}"
    )


def test_sources_on_the_hub_are_recorded_with_their_revision(lesson_recipe: Build) -> None:
    recipe = lesson_recipe()
    source = recipe.data.train[0].model_copy(
        update={"path": "hub:Helsinki-NLP/kde4", "config": "en-fr", "revision": "abc"}
    )
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": [source]})})

    assert hub_data(recipe) == [
        {"id": "Helsinki-NLP/kde4", "config": "en-fr", "revision": "abc", "split": "train"}
    ]


def test_the_columns_that_were_taken_are_shown(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    rows = [f"{n},Open {n},Ouvrir {n}" for n in range(10)]
    table.write_text("\n".join(["id,english,fr", *rows]), encoding="utf-8")
    recipe = load_recipe(
        None,
        [
            "task={name: translation, source: en, target: fr}", "model=embedded:en-fr",
            f"data.train={table}", "data.train[0].columns={source: english}",
        ],
    )  # fmt: skip

    assert prepare_data(recipe).notes[0] == f"Columns   english → fr in {table}"
