"""Resuming: from damaged checkpoints, with other data, of runs that are over."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lessons import Tune

from attuner.errors import RunError
from attuner.models import fingerprint
from attuner.models.fingerprint import file_sha256
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.runs_view import took
from attuner.training import manifest
from attuner.training.checkpoint_folder import seal
from attuner.training.events import Event, Finished, Noted, Saved, Stepped
from attuner.training.past_reading import read_run
from attuner.training.run import Run, begin_or_resume, resume, train

STEPS = ("step-000003", "step-000006", "step-000009")


@pytest.fixture
def run(tune: Tune) -> Run:
    """A run that is over, with three checkpoints."""
    return tune("training.evaluate=none", "training.precision=fp32")[0]


def resumed(folder: Path) -> tuple[Run, list[Event]]:
    events: list[Event] = []
    return resume(folder, listeners=[events.append]), events


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").open(encoding="utf-8")]


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_complete_run_is_scored_and_delivered_again_without_training(run: Run) -> None:
    again, events = resumed(run.folder)

    assert again.after == run.after
    assert not any(isinstance(event, Stepped) for event in events)
    scored = [line for line in lines(run.folder) if line["event"] == "evaluated"]
    assert [line["when"] for line in scored] == ["before", "after"]
    assert [line["event"] for line in lines(run.folder)].count("delivered") == 1


def test_the_time_that_a_run_took_is_that_of_all_its_starts(run: Run) -> None:
    state = run.folder / "checkpoints" / STEPS[2] / "state.json"
    about = json.loads(state.read_text(encoding="utf-8"))
    first = about["loop"]
    assert 0 < first["seconds_before"] + first["seconds"] < run.seconds
    about["loop"] |= {"seconds": 3000.0, "seconds_before": 600.0}
    state.write_text(json.dumps(about), encoding="utf-8")
    seal(state.parent)
    again, _ = resumed(run.folder)

    assert 3600 < again.seconds < 3700
    assert read_run(run.folder).seconds == again.seconds
    assert took(read_run(run.folder)).startswith("1 h 00 min")


def test_a_run_that_stopped_early_is_not_trained_on(tune: Tune) -> None:
    run, events = tune(
        "training.epochs=30", "training.early_stopping.patience=1", "training.learning_rate=0.05",
        "training.best_metric=loss",
    )  # fmt: skip
    finished = next(event for event in events if isinstance(event, Finished))
    assert finished.reason == "early stopping"
    again, events = resumed(run.folder)

    assert not any(isinstance(event, Stepped) for event in events)
    after = next(event for event in events if isinstance(event, Finished))
    assert (after.reason, after.num_steps) == ("early stopping", finished.num_steps)
    assert again.after == run.after


def test_damaged_checkpoints_are_passed_over_and_named(run: Run) -> None:
    folder = run.folder / "checkpoints"
    (folder / STEPS[2] / "state.json").write_text('{"loop": {"step": 9', encoding="utf-8")
    cut_in_half(folder / STEPS[1] / "optimizer.safetensors")
    again, events = resumed(run.folder)

    damaged = [note for note in notes(events) if note.endswith(": it is passed over.")]
    assert [note.split(" is damaged: ")[0] for note in damaged] == [
        str(folder / STEPS[2]), str(folder / STEPS[1]),
    ]  # fmt: skip
    assert f"Going on from {folder / STEPS[0]}." in notes(events)
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(4, 10))
    assert again.after == run.after
    assert [line["step"] for line in lines(run.folder) if line["event"] == "stepped"] == list(
        range(1, 10)
    )


def test_without_a_whole_checkpoint_nothing_is_resumed(run: Run) -> None:
    folder = run.folder / "checkpoints"
    for step in STEPS:
        (folder / step / "random.safetensors").unlink()
    with pytest.raises(RunError) as caught:
        resume(run.folder)

    assert str(caught.value) == (
        "".join(
            f"{folder / step} is damaged: random.safetensors is missing.\n"
            for step in reversed(STEPS)
        )
        + "Resuming needs one checkpoint whose files are whole.\n"
        f"Start it anew: delete the folder and type: attuner train {run.folder}/recipe.yaml"
    )


def test_weights_of_another_shape_leave_the_model_as_it_was(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from tiny import tiny_model

    from attuner.training.checkpoint import load_checkpoint, save_checkpoint
    from attuner.training.loop import LoopState
    from attuner.training.optimizer import build_optimizer

    model = tiny_model()
    optimizer = build_optimizer(model, learning_rate=1.0, weight_decay=0.0)
    saved = save_checkpoint(tmp_path, model, optimizer, LoopState(step=1))
    stored = load_file(saved / "model.safetensors")
    last = list(dict(model.named_parameters()))[-1]
    save_file({**stored, last: torch.zeros(3)}, saved / "model.safetensors")
    seal(saved)
    other = tiny_model(seed=1)
    kept = {name: tensor.clone() for name, tensor in other.named_parameters()}
    with pytest.raises(RunError) as caught:
        load_checkpoint(saved, other, optimizer)

    shape = tuple(dict(model.named_parameters())[last].shape)
    assert str(caught.value) == (
        f"{saved} is damaged: model.safetensors has no {last} of shape {shape}\n"
        "Expected the files model.safetensors, optimizer.safetensors, random.safetensors, "
        "state.json of one checkpoint."
    )
    assert all(torch.equal(tensor, kept[name]) for name, tensor in other.named_parameters())


def test_the_scale_of_fp16_gradients_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    import torch
    from tiny import tiny_model

    from attuner.training.checkpoint import load_checkpoint, save_checkpoint
    from attuner.training.loop import LoopState
    from attuner.training.optimizer import build_optimizer

    model = tiny_model()
    optimizer = build_optimizer(model, learning_rate=1.0, weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    saved = save_checkpoint(tmp_path, model, optimizer, LoopState(step=1), scaler=scaler)
    fresh = torch.amp.GradScaler("cpu")
    load_checkpoint(saved, model, optimizer, scaler=fresh)

    assert fresh.state_dict() == scaler.state_dict()
    assert fresh.get_scale() == 512.0
    assert json.loads((saved / "state.json").read_text())["scaler"]["scale"] == 512.0
    plain = save_checkpoint(tmp_path, model, optimizer, LoopState(step=2))
    assert json.loads((plain / "state.json").read_text())["scaler"] is None
    load_checkpoint(plain, model, optimizer, scaler=fresh)
    assert fresh.get_scale() == 512.0


def test_a_best_that_is_gone_is_looked_for_anew(tune: Tune) -> None:
    # The first epoch is the best until the last one; the rate is constant, and low.
    run, _ = tune("training.learning_rate=1e-6", "training.best_metric=loss")
    folder = run.folder / "checkpoints"
    state = folder / STEPS[2] / "state.json"
    about = json.loads(state.read_text())
    about["loop"] |= {"best_step": 3, "best": -1.0}
    state.write_text(json.dumps(about))
    seal(state.parent)
    shutil.rmtree(folder / STEPS[0])
    _, events = resumed(run.folder)

    assert (
        "The best weights so far, those after step 3, are gone: the best is looked for from here "
        "on." in notes(events)
    )


def test_changed_data_are_refused(run: Run, lessons: Path) -> None:
    before = hashlib.sha256(lessons.read_bytes()).hexdigest()
    with lessons.open("a", encoding="utf-8") as file:
        file.write('{"translation": {"en": "New", "fr": "Nouveau"}}\n')
    now = hashlib.sha256(lessons.read_bytes()).hexdigest()
    with pytest.raises(RunError) as caught:
        resume(run.folder)

    assert str(caught.value) == (
        f"{lessons} has changed since the run began (SHA-256 {before[:12]}... then, {now[:12]}... "
        "now).\n"
        "A run goes on with the very data that it began with: its place in them is a number.\n"
        "Put them back as they were (relative paths count from here), say where they lie now: "
        f"attuner train --resume {run.folder} data.train=..., or start a new run: "
        f"attuner train {run.folder}/recipe.yaml output.name=..."
    )
    lessons.unlink()
    with pytest.raises(RunError) as caught:
        resume(run.folder)
    assert caught.value.happened == f"{lessons} is missing, which the run began with."


def test_a_file_that_came_into_the_folder_is_refused(
    lesson_recipe: Callable[..., Recipe], lessons: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(lessons, data)
    recipe = lesson_recipe(f"data.train={data}", "training.epochs=1", "training.evaluate=none")

    def stop(event: Event) -> None:
        if isinstance(event, Saved):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, listeners=[stop])
    shutil.copy(lessons, data / "more.jsonl")
    with pytest.raises(RunError) as caught:
        resume(tmp_path / "runs/test")
    assert caught.value.happened == f"{data}/more.jsonl is new since the run began."


def test_without_its_manifest_a_run_is_not_resumed(run: Run) -> None:
    manifest = run.folder / "manifest.json"
    manifest.write_text("{", encoding="utf-8")
    with pytest.raises(RunError) as caught:
        resume(run.folder)

    assert str(caught.value) == (
        f"{manifest} cannot be read: Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)\n"
        "Resuming compares recipe, data and model with what is in it.\n"
        "Put the file back (each checkpoint has a copy), or start a new run: "
        f"attuner train {run.folder}/recipe.yaml output.name=..."
    )


def test_a_single_changed_byte_is_recognised(run: Run) -> None:
    path = run.folder / "checkpoints" / STEPS[2] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    _, events = resumed(run.folder)

    assert (
        f"{path.parent} is damaged: model.safetensors has not the contents that were written: it "
        "is passed over." in notes(events)
    )
    assert [event.step for event in events if isinstance(event, Stepped)] == [7, 8, 9]


def test_what_is_half_written_is_said_and_goes_with_the_next_checkpoint(run: Run) -> None:
    folder = run.folder / "checkpoints"
    (folder / ".step-000009.partial").mkdir()
    (folder / STEPS[2] / "state.json").unlink()  # a copy that broke off
    _, events = resumed(run.folder)

    for name in (".step-000009.partial", STEPS[2]):
        assert f"{folder / name} is half written: it is passed over." in notes(events)
    assert sorted(path.name for path in folder.iterdir()) == list(STEPS)


def test_damaged_checkpoints_take_no_place_of_good_ones(tune: Tune) -> None:
    run, _ = tune("training.evaluate=none", "training.keep_checkpoints=2")
    folder = run.folder / "checkpoints"
    cut_in_half(folder / STEPS[2] / "model.safetensors")
    with pytest.raises(KeyboardInterrupt):
        resume(run.folder, listeners=[interrupt_at(8)])

    # Were the damaged one still counted, the good ones would be too many.
    names = sorted(path.name for path in folder.iterdir())
    assert names == [STEPS[1], "step-000008-stopped"]


def test_checkpoints_that_a_killed_run_had_no_time_to_delete_go(run: Run) -> None:
    folder = run.folder / "checkpoints"
    shutil.copytree(folder / STEPS[0], folder / "step-000001")
    (folder / ".old-step-000002").mkdir()
    resume(run.folder)

    assert sorted(path.name for path in folder.iterdir()) == list(STEPS)


def interrupt_at(step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return listen


def test_a_copy_elsewhere_is_resumed_with_its_data_elsewhere(
    tune: Tune, lessons: Path, tmp_path: Path
) -> None:
    whole, _ = tune("output.name=whole")
    with pytest.raises(KeyboardInterrupt):
        tune("output.name=cut", listeners=[interrupt_at(4)])
    other = tmp_path / "other machine"
    other.mkdir()
    moved = Path(shutil.move(tmp_path / "runs/cut", other / "copy"))
    data = Path(shutil.move(lessons, other / "data.jsonl"))
    with pytest.raises(RunError) as caught:
        resume(moved)
    assert caught.value.happened == f"{lessons} is missing, which the run began with."
    recipe = load_recipe(moved / "recipe.yaml", [f"data={data}", f"data.validation={data}"])
    run = resume(moved, recipe)

    assert run.folder == moved
    assert run.after == whole.after
    for file in ("model/model.safetensors", "model/config.json"):
        assert (moved / file).read_bytes() == (whole.folder / file).read_bytes()
    assert load_recipe(moved / "recipe.yaml").data.train[0].path == str(data)
    manifest = json.loads((moved / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["data"]) == [str(data)]
    assert resume(moved).after == whole.after


def test_files_that_give_other_examples_are_refused(
    lesson_recipe: Callable[..., Recipe], lessons: Path, tmp_path: Path
) -> None:
    # What is held out depends on the names of files.
    paths = [tmp_path / f"{name}.jsonl" for name in "abcd"]
    rows = lessons.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, path in enumerate(paths):
        path.write_text("".join(rows[2 * number : 2 * number + 2]), encoding="utf-8")

    def build(files: list[Path]) -> Recipe:
        return lesson_recipe(
            f"data.train=[{', '.join(map(str, files))}]", "data.validation=null",
            "data.split.by=file", "data.split.validation=2", "data.split.test=2",
            "training.max_steps=1", "training.evaluate=none",
        )  # fmt: skip

    run = train(build(paths))
    found = []
    for attempt in "efghijkl":
        moved = [path.rename(tmp_path / f"{attempt}{path.name[-7:]}") for path in paths]
        try:
            resume(run.folder, build(moved))
        except RunError as error:
            found.append(str(error))
        paths = moved
    assert found
    assert "although the files are the same." in found[0]


def test_a_changed_recipe_is_refused_by_option(run: Run) -> None:
    recipe = run.folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("learning_rate: 0.003", "learning_rate: 0.001"), "utf-8")
    with pytest.raises(RunError) as caught:
        resume(run.folder)
    assert caught.value.happened == (
        "The recipe has changed since the run began:\n"
        "  training.learning_rate: 0.003 → 0.001 (steps before had another rate)"
    )
    again, events = run.folder, notes(resumed_inexactly(run.folder))
    assert (
        "Changed after step 9: training.learning_rate: 0.003 → 0.001 (steps before had another "
        "rate). The result is of neither recipe." in events
    )
    assert json.loads((again / "manifest.json").read_text())["changes"][0]["is_exact"] is False
    assert resume(run.folder)  # it is the run's recipe now


def resumed_inexactly(folder: Path) -> list[Event]:
    events: list[Event] = []
    resume(folder, inexact=True, listeners=[events.append])
    return events


def test_more_epochs_at_a_constant_rate_are_those_of_the_longer_run(tune: Tune) -> None:
    options = ("training.schedule=constant", "training.precision=fp32")
    whole, _ = tune(*options, "training.epochs=3", "output.name=whole")
    short, _ = tune(*options, "training.epochs=2")
    longer = load_recipe(short.folder / "recipe.yaml", ["training.epochs=3"])
    run = resume(short.folder, longer)

    assert run.after == whole.after
    name = "model.safetensors"
    assert (run.model_folder / name).read_bytes() == (whole.model_folder / name).read_bytes()


def test_a_run_without_a_checkpoint_starts_anew(tune: Tune, lessons: Path) -> None:
    whole, _ = tune("output.name=whole")
    cut, _ = tune("output.name=cut")
    for path in ("checkpoints", "model"):
        shutil.rmtree(cut.folder / path)
    (cut.folder / "notes.txt").write_text("mine")
    run, events = resumed(cut.folder)

    assert f"{cut.folder} has no checkpoint yet: the run starts anew." in notes(events)
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 10))
    assert run.after == whole.after
    assert (cut.folder / "notes.txt").read_text() == "mine"
    wanted, found = (
        [(line["event"], line.get("step")) for line in lines(folder)]
        for folder in (whole.folder, cut.folder)
    )
    assert found == wanted


def test_a_recipe_begins_its_run_or_goes_on_with_it(
    lesson_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = lesson_recipe()
    folder = tmp_path / "runs/test"
    with pytest.raises(KeyboardInterrupt):
        begin_or_resume(recipe, listeners=[interrupt_at(4)])
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        STEPS[0], "step-000004-stopped",
    ]  # fmt: skip
    events: list[Event] = []
    begin_or_resume(recipe, listeners=[events.append])
    assert next(event.step for event in events if isinstance(event, Stepped)) == 5
    shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True)  # killed before its recipe was written
    assert begin_or_resume(recipe).model_folder.is_dir()


def test_data_and_weights_are_read_once_to_be_compared(
    run: Run, lessons: Path, marian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_sha256(path)

    for module in (fingerprint, manifest):
        monkeypatch.setattr(module, "file_sha256", counted)
    resumed(run.folder)

    compared = [path for path in read if path.parent in (lessons.parent, marian)]
    assert sorted(compared) == sorted([lessons, marian / "model.safetensors"])


def test_another_machine_is_said(run: Run) -> None:
    manifest = run.folder / "manifest.json"
    about = json.loads(manifest.read_text(encoding="utf-8"))
    about["machine"]["processor"] = "Z80"
    about["versions"]["torch"] = "0.1"
    manifest.write_text(json.dumps(about), encoding="utf-8")
    _, events = resumed(run.folder)

    said = [note for note in notes(events) if note.startswith("Not bit for bit as it began: ")]
    assert [note.split(": ")[1].split(" → ")[0] for note in said] == ["processor Z80", "torch 0.1"]


def test_a_checkpoint_holds_the_manifest_and_every_random_state(run: Run) -> None:
    checkpoint = run.folder / "checkpoints" / STEPS[2]
    digests = json.loads((checkpoint / "files.json").read_text())

    assert (checkpoint / "manifest.json").read_bytes() == (
        run.folder / "manifest.json"
    ).read_bytes()
    assert sorted(digests) == [
        "manifest.json", "model.safetensors", "optimizer.safetensors", "random.safetensors",
        "state.json",
    ]  # fmt: skip
    about = json.loads((checkpoint / "state.json").read_text())
    assert {"python_random", "numpy_random", "loop", "scaler"} == set(about)


def test_numpy_s_own_random_state_is_put_back(tmp_path: Path) -> None:
    import numpy as np
    from tiny import tiny_model

    from attuner.training.checkpoint import load_checkpoint, save_checkpoint
    from attuner.training.loop import LoopState
    from attuner.training.optimizer import build_optimizer

    model = tiny_model()
    optimizer = build_optimizer(model, learning_rate=1.0, weight_decay=0.0)
    np.random.seed(3)
    np.random.normal()  # which keeps a second number for later
    saved = save_checkpoint(tmp_path, model, optimizer, LoopState(step=1))
    expected = np.random.normal(size=5)
    np.random.seed(4)
    load_checkpoint(saved, model, optimizer)
    assert (np.random.normal(size=5) == expected).all()
