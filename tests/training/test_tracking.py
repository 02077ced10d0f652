"""Trackers are told the numbers of a run, read back here from what they keep; none can harm it."""

from __future__ import annotations

import json
import random
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from lessons import Tune

from attuner.errors import MissingExtraError, RecipeError
from attuner.recipe import Recipe
from attuner.training import trackers
from attuner.training.events import Evaluated, Event, Noted, Planned, Saved, Stepped
from attuner.training.folder import RunFolder
from attuner.training.processes import ALONE, Processes
from attuner.training.run import resume, train
from attuner.training.tracking import Numbers, Tracking, tracked

Build = Callable[..., Recipe]
SPEED = {"train/examples_per_second", "train/tokens_per_second"}
EACH_STEP = {"train/loss", "train/learning_rate", "train/grad_norm", "train/epoch"}


def step(number: int, seconds: float) -> Stepped:
    return Stepped(number, 9, number / 3, 2.5, 1e-4, 0.5, 32, 400, seconds)


def planned(first_step: int = 0) -> Planned:
    return Planned(8, 80, 3, 9, "4 examples", 1, 100, "cpu", "fp32", "", "packed", first_step)


def weights(folder: Path) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: step and value, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


def test_numbers_of_an_update_and_its_speed() -> None:
    numbers = Numbers()

    first, at = numbers.of(step(1, 1.0)) or ({}, 0)
    assert (set(first), at) == (EACH_STEP, 1)
    assert (first["train/loss"], first["train/grad_norm"]) == (2.5, 0.5)
    second, _ = numbers.of(step(2, 1.5)) or ({}, 0)
    assert set(second) == EACH_STEP | SPEED
    assert second["train/examples_per_second"] == pytest.approx(64)
    assert second["train/tokens_per_second"] == pytest.approx(800)


@pytest.mark.parametrize(
    "between", [Evaluated("epoch", "validation", 1, 1.0, {}), Saved(1, Path("step-1"))]
)
def test_an_evaluation_or_a_checkpoint_is_no_part_of_an_update(between: Event) -> None:
    numbers = Numbers()
    for event in (step(1, 1.0), between):
        numbers.of(event)

    values, _ = numbers.of(step(2, 9.0)) or ({}, 0)
    assert set(values) == EACH_STEP


@pytest.mark.parametrize(
    ("when", "split", "name"),
    [
        ("before", "validation", "validation/bleu"), ("epoch", "validation", "validation/bleu"),
        ("before", "test", "test/bleu"), ("after", "test", "test/bleu"),
        ("after", "validation", "delivered/bleu"),
        ("mean", "validation", "mean_of_checkpoints/bleu"),
    ],
)  # fmt: skip
def test_names_of_scores(when: str, split: str, name: str) -> None:
    found = Numbers().of(Evaluated(when, split, 9, 3.0, {"bleu": 40.0}))

    assert found == ({name: 40.0}, 9)


def test_tensorboard_is_told_all_that_metrics_jsonl_has(tune: Tune) -> None:
    run, events = tune("output.trackers=tensorboard")
    shown = scalars(run.folder)

    steps = [event for event in events if isinstance(event, Stepped)]
    for name in ("loss", "learning_rate", "grad_norm"):
        told = shown[f"train/{name}"]
        assert [at for at, _ in told] == list(range(1, 10))
        assert [value for _, value in told] == pytest.approx([getattr(e, name) for e in steps])
    scored = [e for e in events if isinstance(e, Evaluated) and e.when in ("before", "epoch")]
    assert [at for at, _ in shown["validation/chrf"]] == [0, 3, 6, 9]
    assert [value for _, value in shown["validation/chrf"]] == pytest.approx(
        [event.scores["chrf"] for event in scored]
    )
    assert shown["delivered/chrf"] == [(9, pytest.approx(run.after["chrf"], rel=1e-6))]
    assert set(shown) >= SPEED
    assert f"TensorBoard: tensorboard --logdir {run.folder.parent}" in notes(events)


def test_tensorboard_is_told_the_recipe(tune: Tune) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run, _ = tune("output.trackers=[tensorboard]", "training.epochs=1")
    shown = EventAccumulator(str(run.folder / "tensorboard"))
    shown.Reload()
    content = shown.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    options = HParamsPluginData.FromString(content).session_start_info.hparams

    assert options["training.batch_examples"].number_value == 4
    assert options["task.target"].string_value == "fr"
    assert options["task.metrics"].string_value == "[bleu, chrf]"
    assert [path.parent.name for path in run.folder.rglob("events.*")] == ["tensorboard"]


class PulledTheCable(BaseException):
    pass


def pull(event: Event) -> None:
    """Kills a run after two updates that no checkpoint knows."""
    if isinstance(event, Stepped) and event.step == 8:
        raise PulledTheCable


def test_a_resumed_run_goes_on_in_tensorboard(lesson_recipe: Build, tune: Tune) -> None:
    whole, _ = tune("output.trackers=tensorboard", "output.name=whole")
    cut = lesson_recipe("output.trackers=tensorboard", "output.name=cut")
    with pytest.raises(PulledTheCable):
        train(cut, listeners=[pull])
    run = resume(Path(cut.output.folder) / "cut")
    shown, expected = scalars(run.folder), scalars(whole.folder)

    for name in ("train/loss", "validation/chrf", "delivered/chrf"):
        assert shown[name] == expected[name]


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_tracker_changes_nothing(
    name: str, tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    told, _ = tune(f"output.trackers={name}", "output.name=told", "model.dropout=0.2")
    drawn = random.getstate()
    plain, _ = tune("output.name=plain", "model.dropout=0.2")

    assert weights(told.folder) == weights(plain.folder)
    assert random.getstate() == drawn


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records that a folder of Weights & Biases holds: LevelDB's log format, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        size, kind = struct.unpack_from("<HB", content, at + 4)  # after a checksum
        record += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of several pieces
            yield Record.FromString(record)
            record = b""
        if 32768 - at % 32768 < 7:  # the rest of a block is empty
            at += 32768 - at % 32768


def told(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def test_wandb_keeps_the_run_offline_under_one_id(
    lesson_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    recipe = lesson_recipe("output.trackers=wandb")
    with pytest.raises(PulledTheCable):
        train(recipe, listeners=[pull])
    events: list[Event] = []
    run = resume(Path(recipe.output.folder) / "test", listeners=[events.append])

    name = (run.folder / ".tracking-id").read_text()
    kept = sorted(run.folder.glob("wandb/offline-run-*"))
    assert [path.name.split("-")[3] for path in kept] == [name, name]
    before, after = (list(wandb_records(path)) for path in kept)
    rows = [told(record.history.item) for record in after if record.HasField("history")]
    assert [row["_step"] for row in rows if "train/loss" in row] == [7, 8, 9]
    assert rows[-1]["delivered/chrf"] == pytest.approx(run.after["chrf"])
    (started,) = [record.run for record in before if record.HasField("run")]
    assert (started.project, started.display_name, started.run_id) == ("attuner", "test", name)
    assert told(started.config.update)["training.batch_examples"] == 4
    assert (
        f"Weights & Biases: kept in {run.folder}/wandb, to be sent with: "
        f"wandb sync {run.folder}/wandb/offline-run-*"
    ) in notes(events)


def test_trackio_keeps_the_run_on_this_machine(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder is read when trackio is imported, which an earlier test may have done.
    import trackio.sqlite_storage
    import trackio.utils

    for module in (trackio.sqlite_storage, trackio.utils, trackio):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setenv("TRACKIO_PROJECT", "lessons")
    run, events = tune("output.trackers=trackio")
    name = f"test-{(run.folder / '.tracking-id').read_text()}"

    with sqlite3.connect(tmp_path / "trackio/lessons.db") as database:
        rows = database.execute(
            "SELECT run_name, step, metrics FROM metrics ORDER BY id"
        ).fetchall()
        ((config,),) = database.execute("SELECT config FROM configs").fetchall()
    values = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert {run_name for run_name, _, _ in rows} == {name}
    assert [step for step, found in values if "train/loss" in found] == list(range(1, 10))
    assert values[-1] == (9, pytest.approx({f"delivered/{k}": v for k, v in run.after.items()}))
    assert json.loads(config)["task.target"] == "fr"
    assert "trackio: trackio show --project lessons" in notes(events)


class Told:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.values: list[tuple[dict[str, float], int]] = []
        self.is_finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        self.values.append((values, step))

    def finish(self) -> None:
        self.is_finished = True


class Broken(Told):
    """One that breaks whenever it is told of every second step."""

    def log(self, values: dict[str, float], step: int) -> None:
        if step % 2:
            raise OSError(f"step {step} was too much\nfor it")
        super().log(values, step)


def track(start: Callable[[int], Any], **options: float) -> tuple[Tracking, list[str]]:
    said: list[str] = []
    made = Tracking({"wandb": start}, said.append, {"wandb": "look there."}, **options)
    return made, said


def test_what_is_told_before_the_loop_waits_for_its_plan() -> None:
    tracker = Told()
    made, said = track(lambda first_step: tracker)
    made(Evaluated("before", "test", 0, 0.0, {"bleu": 1.0}))
    assert said == []
    for event in (planned(), step(1, 1.0)):
        made(event)
    made.close()

    assert [at for _, at in tracker.values] == [0, 1]
    assert tracker.is_finished
    assert said == ["Weights & Biases: look there."]


def test_a_fault_is_said_once_and_stops_nothing() -> None:
    tracker = Broken()
    made, said = track(lambda first_step: tracker)
    for event in (planned(), *(step(number, float(number)) for number in range(1, 7))):
        made(event)
    made.close()

    assert [at for _, at in tracker.values] == [2, 4, 6]
    assert said[1:] == [
        "Weights & Biases: OSError: step 1 was too much. The run goes on without what it misses."
    ]


def test_a_tracker_that_does_not_start(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setitem(trackers.STARTS, "tensorboard", start)  # type: ignore[arg-type]
    run, events = tune("output.trackers=tensorboard", "training.epochs=1")

    assert run.model_folder.is_dir()
    assert [text for text in notes(events) if "no server" in text] == [
        "TensorBoard: RuntimeError: no server. The run goes on without what it misses."
    ]


def test_a_slow_start_does_not_set_the_chance_of_the_run_back() -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def start(first_step: int) -> Told:
        has_begun.set()
        may_go_on.wait(10)
        return Told()

    made, _ = track(start)
    made(planned())
    assert has_begun.wait(10)
    random.random()
    drawn = random.getstate()
    may_go_on.set()
    made.close()

    assert random.getstate() == drawn


def test_what_a_package_draws_when_it_is_imported_is_not_felt(
    lesson_recipe: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing_tracker.py").write_text("import random\n\ndrawn = random.random()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(trackers._PACKAGES, "tensorboard", "drawing_tracker")
    recipe = lesson_recipe("output.trackers=tensorboard")
    before = random.getstate()
    with tracked(recipe, RunFolder(tmp_path), ()):
        assert "drawing_tracker" in sys.modules  # here, not on the thread
        assert random.getstate() == before


def test_a_run_does_not_wait_for_one_that_hangs() -> None:
    released = threading.Event()
    made, said = track(lambda first_step: released.wait(), longest_wait_seconds=0.2)
    for event in (planned(), step(1, 1.0)):
        made(event)
    made.close()
    released.set()

    assert said[1:] == [
        "Weights & Biases has not taken everything within 0.2 seconds: the run ends without it."
    ]


def test_a_tracker_that_is_not_installed(
    lesson_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(trackers, "version", version)
    recipe = lesson_recipe("output.trackers=[wandb]")
    with pytest.raises(MissingExtraError) as caught:
        train(recipe)

    assert str(caught.value) == (
        "Weights & Biases needs the optional dependencies of attuner[wandb].\n"
        'Install them with: pip install "attuner[wandb]"'
    )
    assert not Path(recipe.output.folder).exists()


def test_an_unknown_tracker_is_refused_by_name(lesson_recipe: Build) -> None:
    with pytest.raises(RecipeError) as caught:
        lesson_recipe("output.trackers=tensorbord")

    assert str(caught.value).splitlines()[1] == (
        "  override output.trackers=tensorbord output.trackers[0]: tensorbord. "
        'Did you mean "tensorboard"? Known: tensorboard, trackio, wandb.'
    )


@pytest.mark.parametrize(
    ("options", "processes"),
    [(["training.seeds=2"], ALONE), ([], Processes(1, 2))],
    ids=["the run around several seeds", "a process that is not the first"],
)
def test_who_tells_nothing(
    options: list[str], processes: Processes, lesson_recipe: Build, tmp_path: Path
) -> None:
    recipe = lesson_recipe("output.trackers=tensorboard", *options)
    with tracked(recipe, RunFolder(tmp_path), (), processes) as told:
        assert told == ()
