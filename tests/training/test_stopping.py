"""Ctrl-C and SIGTERM: a run saves between two updates, and says how to go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lessons import Tune

from attuner.errors import RunError, StoppedError
from attuner.recipe import Recipe
from attuner.training import store
from attuner.training.events import Evaluated, Event, Noted, Progressed, Stepped
from attuner.training.folder import RunFolder
from attuner.training.lock import locked
from attuner.training.run import resume, train
from attuner.training.stopping import stop_requests

Build = Callable[..., Recipe]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("sent", "name", "exit_code"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)],
)
@pytest.mark.parametrize("options", [(), ("training.average_checkpoints=3",)])
def test_a_run_that_was_asked_to_stop_ends_as_one_that_was_not(
    tune: Tune,
    lesson_recipe: Build,
    tmp_path: Path,
    sent: int,
    name: str,
    exit_code: int,
    options: tuple[str, ...],
) -> None:
    options = (*options, "training.learning_rate=1e-4")
    whole, _ = tune(*options, "output.name=whole")
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stepped) and event.step == 5:
            os.kill(os.getpid(), sent)

    before = signal.getsignal(sent)
    with pytest.raises(StoppedError) as caught:
        train(lesson_recipe(*options), listeners=[listen])

    folder = tmp_path / "runs/test"
    assert str(caught.value) == (
        f"Stopped by {name} after step 5.\nGo on with: attuner train --resume {folder}"
    )
    assert caught.value.exit_code == exit_code
    assert signal.getsignal(sent) is before
    said = [event.text for event in events if isinstance(event, Noted)]
    assert (
        f"{name}: the run stops after this update, or this evaluation, and saves first. "
        "Ctrl-C again to leave at once." in said
    )
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["step-000003", "step-000005-stopped"]
    run = resume(folder)
    assert weights(run.model_folder) == weights(whole.model_folder)
    assert run.after == whole.after
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["step-000003", "step-000006", "step-000009"]


def test_a_second_request_leaves_at_once(lesson_recipe: Build, tmp_path: Path) -> None:
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Stepped) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError) as caught:
        train(lesson_recipe(), listeners=[listen])

    folder = tmp_path / "runs/test"
    assert str(caught.value) == (
        f"Interrupted by Ctrl-C.\nGo on with: attuner train --resume {folder}"
    )
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000003"]


def test_sigterm_sent_again_does_not_break_off_the_save(
    lesson_recipe: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = store.save_checkpoint

    def save(*args: Any, is_stop: bool, **options: Any) -> Path:
        if is_stop:
            signal.raise_signal(signal.SIGTERM)
        return inner(*args, is_stop=is_stop, **options)

    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 5:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(store, "save_checkpoint", save)
    with pytest.raises(StoppedError, match="Stopped by SIGTERM after step 5"):
        train(lesson_recipe(), listeners=[listen])
    assert (tmp_path / "runs/test/checkpoints/step-000005-stopped/files.json").is_file()


def test_before_the_loop_a_request_is_obeyed_at_once(lesson_recipe: Build, tmp_path: Path) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Progressed):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError) as caught:
        train(lesson_recipe(), listeners=[listen])

    assert str(caught.value) == (
        "Interrupted by SIGTERM.\nNo checkpoint was written yet: start the run again."
    )
    assert caught.value.exit_code == 143
    assert not (tmp_path / "runs").exists()


def test_a_request_after_the_last_update_finds_all_saved(
    lesson_recipe: Build, tmp_path: Path
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="Stopped by SIGTERM after step 9"):
        train(lesson_recipe(), listeners=[listen])
    names = sorted(path.name for path in (tmp_path / "runs/test/checkpoints").iterdir())
    assert names == ["step-000003", "step-000006", "step-000009"]
    assert resume(tmp_path / "runs/test").model_folder.is_dir()


def test_signals_that_are_ignored_and_other_threads_are_left_alone(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stop_requests(RunFolder(tmp_path)):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = []

    def in_thread() -> None:
        with stop_requests(RunFolder(tmp_path)):
            kept.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert kept == [before]


def test_two_processes_do_not_train_one_run(tune: Tune) -> None:
    run, _ = tune("training.epochs=1", "training.evaluate=none")
    with locked(RunFolder(run.folder)), pytest.raises(RunError) as caught:
        resume(run.folder)

    assert str(caught.value) == (
        f"{run.folder} is in use by process {os.getpid()}.\n"
        "A run is trained by one process at a time.\n"
        "Wait for its end, or stop it with Ctrl-C first: it saves then."
    )
    assert not (run.folder / ".lock").exists()
    assert resume(run.folder).after == run.after
