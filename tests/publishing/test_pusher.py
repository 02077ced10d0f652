"""Pushing a run while it goes, against the stand-in for the Hub."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub.server import REFUSED, Hub, wait_until
from safetensors.torch import load_file

from attuner.cards.truth import require_true_card
from attuner.publishing.outbox import Outbox
from attuner.publishing.pusher import Pusher
from attuner.publishing.pushing import push_rest
from attuner.recipe import Recipe
from attuner.training.events import Event, Noted, Saved
from attuner.training.run import Run, train

Listen = Callable[[Event], None]


@contextmanager
def pushed(recipe: Recipe, *more: Listen) -> Iterator[tuple[Run, list[str]]]:
    """Train with a pusher; the lines that the user reads."""
    lines: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Noted):
            lines.append(event.text)

    with Pusher([note]) as pusher:
        run = train(recipe, listeners=[note, pusher, *more])
    yield pusher.with_url(run), lines


def after_save(step: int, do: Callable[[], None]) -> Listen:
    """Does something right after the checkpoint of a step, before the run goes on."""

    def listen(event: Event) -> None:
        if isinstance(event, Saved) and event.step == step:
            do()

    return listen


def until_pushed(message: str) -> Callable[[], None]:
    outbox = Outbox(Path("runs/tuned/hub"))
    return lambda: wait_until(lambda: outbox.record.message == message)


def not_pushed(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("Not pushed")]


@pytest.mark.slow
def test_each_state_is_a_model_and_what_resuming_needs(
    hub: Hub, build: Callable[..., Recipe], tmp_path: Path
) -> None:
    message = "Training in progress, epoch 1"
    recipe = build("publish.hub_id=tuned")
    with pushed(recipe, after_save(3, until_pushed(message))) as (run, lines):
        pass
    repo = hub.repos["alice/tuned"]
    states = [hub.clone("alice/tuned", tmp_path / c.oid, revision=c.oid) for c in repo.commits[1:]]
    checkpoint = run.folder / "checkpoints/step-000003/model.safetensors"

    assert repo.private
    assert repo.messages[0] == message
    assert repo.messages[-1] == "Training complete"
    assert run.hub_url == f"{hub.endpoint}/alice/tuned/commit/{repo.commits[-1].oid}"
    first = f"{hub.endpoint}/alice/tuned/commit/{repo.commits[1].oid}"
    said = [line for line in lines if line.startswith("Pushed")]
    assert said == [f"Pushed: {message} ({first})", f"Pushed: Training complete ({run.hub_url})"]
    trained, sent = load_file(checkpoint), load_file(states[0] / "model.safetensors")
    assert sent.keys() <= trained.keys()
    assert all(bool((tensor == trained[name]).all()) for name, tensor in sent.items())
    assert {path.name for path in (states[0] / "run/checkpoints").iterdir()} == {"step-000003"}
    assert (states[-1] / "model.safetensors").read_bytes() == (
        run.model_folder / "model.safetensors"
    ).read_bytes()
    assert {path.name for path in (states[-1] / "run").iterdir()} == {
        "manifest.json", "metrics.jsonl", "recipe.yaml",
    }  # fmt: skip
    assert not Outbox(run.folder / "hub").is_pending
    cards = [(state / "README.md").read_text(encoding="utf-8") for state in states]
    facts = [require_true_card(state) for state in states]
    assert "**In progress**: no result, but the state of a run after step 3 of 6." in cards[0]
    assert facts[0].scored.after == run.epochs[1]["scores"]
    assert "In progress" not in cards[-1]
    assert {fact.address for fact in facts} == {"alice/tuned"}
    assert {fact.name for fact in facts} == {"tuned"}


@pytest.mark.slow
def test_one_push_at_a_time_and_the_last_state_wins(hub: Hub, build: Callable[..., Recipe]) -> None:
    """The states are complete though the run deletes its checkpoints meanwhile."""
    last = "Training in progress, epoch 5"
    recipe = build("publish.hub_id=tuned", "training.epochs=5", "training.keep_checkpoints=1")
    hub.fault("POST .*/commit/", seconds=3)
    with pushed(recipe, after_save(15, until_pushed(last))) as (_, lines):
        pass
    messages = hub.repos["alice/tuned"].messages
    begun = [line for line in hub.requests if "/repos/create" in line or "/commit/" in line]

    assert messages[-2:] == [last, "Training complete"]
    assert len(messages) <= 4  # of five epochs and the result
    assert begun == [
        "POST /api/repos/create", "POST /api/models/alice/tuned/commit/main",
    ] * len(messages)  # fmt: skip
    assert not not_pushed(lines)


@pytest.mark.slow
def test_another_machine_goes_on_bit_for_bit(
    hub: Hub, build: Callable[..., Recipe], tmp_path: Path
) -> None:
    whole = train(build("output.name=whole", "training.epochs=3", "training.keep_checkpoints=1"))
    recipe = build("publish.hub_id=team/tuned", "training.epochs=3", "training.keep_checkpoints=1")

    def leave() -> None:
        until_pushed("Training in progress, epoch 2")()
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError), pushed(recipe, after_save(6, leave)):
        pass
    other = tmp_path / "other"
    other.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "attuner", "train", "--resume", "hub:team/tuned", "--json"],
        cwd=other, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    again = other / result["model"]

    assert "hub:team/tuned is in runs/tuned now." in done.stderr
    assert "Going on from runs/tuned/checkpoints/step-000006." in done.stderr
    weights = sorted(whole.model_folder.iterdir())
    for path in (path for path in weights if path.name not in ("README.md", "card.json")):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    assert result["after"] == pytest.approx(dict(whole.after), abs=0)
    assert hub.repos["team/tuned"].messages[-1] == "Training complete"
    assert result["hub_url"].endswith(hub.repos["team/tuned"].commits[-1].oid)
    refused = subprocess.run(
        [sys.executable, "-m", "attuner", "train", "--resume", "hub:team/tuned"],
        cwd=other, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr == (
        "hub:team/tuned holds no checkpoint: the run is over, or was pushed without "
        "(publish.checkpoints=false).\n"
        "A run goes on from its last checkpoint, which is on the Hub until the run is over.\n"
        "Give the commit of an epoch as hub:ID@COMMIT, or start from its model: "
        "attuner train RECIPE model=team/tuned\n"
    )


def test_without_a_token_the_run_goes_on(
    hub: Hub, build: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pushed(build("publish.hub_id=alice/tuned"), after_save(3, lambda: time.sleep(0.1))) as (
        run, lines,
    ):  # fmt: skip
        pass
    assert lines[0] == (
        "alice/tuned: there is no token of the Hugging Face Hub here. The run goes on; it is "
        "pushed from the next checkpoint on after you have logged in. Log in with `hf auth login`, "
        "in a notebook with `from huggingface_hub import notebook_login; notebook_login()`, or set "
        "HF_TOKEN."
    )
    assert hub.requests == []
    (said,) = not_pushed(lines)[-1:]
    assert said == (
        "Not pushed: alice/tuned: there is no token of the Hugging Face Hub here.\n"
        "Pushing needs a token with the right to write.\n"
        "Log in with `hf auth login`, in a notebook with `from huggingface_hub import "
        "notebook_login; notebook_login()`, or set HF_TOKEN.\n"
        "Then type: attuner push --resume runs/tuned"
    )
    assert run.hub_url is None
    assert run.model_folder.is_dir()
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    push_rest(run.folder)
    assert hub.repos["alice/tuned"].messages == ["Training complete"]


def test_the_network_is_gone_for_a_while(hub: Hub, build: Callable[..., Recipe]) -> None:
    outbox = Outbox(Path("runs/tuned/hub"))
    hub.stop()

    def fail() -> None:
        wait_until(lambda: outbox.record.error is not None)
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # the process that pushes has ended
        hub.start()

    with pushed(build("publish.hub_id=tuned"), after_save(3, fail)) as (_, lines):
        pass
    assert not_pushed(lines) == [
        f"Not pushed yet; the run goes on. tuned: the Hub cannot be reached: {REFUSED}\n"
        "What is not pushed is kept, and no half of it is on the Hub.\n"
        "When the network is back, type: attuner push --resume runs/tuned"
    ]
    assert hub.repos["alice/tuned"].messages[-1] == "Training complete"


@pytest.mark.slow
def test_the_process_that_pushes_is_killed(hub: Hub, build: Callable[..., Recipe]) -> None:
    outbox = Outbox(Path("runs/tuned/hub"))
    fault = hub.fault("PUT /lfs/", seconds=60)

    def kill() -> None:
        wait_until(lambda: any(line.startswith("PUT /lfs/") for line in hub.requests))
        os.kill(int((outbox.path / ".lock").read_text()), signal.SIGKILL)
        hub.faults.remove(fault)

    with pushed(build("publish.hub_id=tuned"), after_save(3, kill)) as (_, lines):
        pass
    (said,) = not_pushed(lines)
    assert said.startswith(
        "Not pushed yet; the run goes on. The process that pushes ended by itself (exit code -9)."
    )
    assert hub.repos["alice/tuned"].messages[-1] == "Training complete"


def test_a_hub_that_hangs_takes_no_time_of_the_run(hub: Hub, build: Callable[..., Recipe]) -> None:
    hub.fault(".", seconds=60)
    began = time.monotonic()
    with pushed(build("publish={hub_id: tuned, wait_seconds: 0.5}")) as (run, lines):
        seconds = time.monotonic() - began
    assert seconds < 40
    assert run.hub_url is None
    assert lines[-1] == (
        "The last state of the run is not on the Hub. Push it with: "
        "attuner push --resume runs/tuned"
    )
    hub.mend()
    push_rest(run.folder)
    assert hub.repos["alice/tuned"].messages == ["Training complete"]


@pytest.mark.slow
def test_a_run_that_breaks_off_says_what_is_left(hub: Hub, build: Callable[..., Recipe]) -> None:
    hub.fault(".", seconds=60)
    lines: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Noted):
            lines.append(event.text)

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Pusher([note]) as pusher:
        train(build("publish.hub_id=tuned"), listeners=[pusher, after_save(3, leave)])
    assert lines == [
        "The last state of the run is not on the Hub. Push it with: "
        "attuner push --resume runs/tuned"
    ]
    hub.mend()
    push_rest(Path("runs/tuned"))
    assert hub.repos["alice/tuned"].messages == ["Training in progress, epoch 1"]
    assert "model.safetensors" in hub.files("alice/tuned")


def test_nothing_is_pushed_where_the_recipe_does_not_say_so(
    hub: Hub, build: Callable[..., Recipe]
) -> None:
    with pushed(build()) as (run, _):
        assert not (run.folder / "hub").exists()
    assert hub.requests == []


@pytest.mark.slow
def test_without_checkpoints_the_model_alone_is_pushed(
    hub: Hub, build: Callable[..., Recipe]
) -> None:
    message = "KDE in progress, epoch 1"
    recipe = build("publish={hub_id: tuned, checkpoints: false, message: KDE}")
    with pushed(recipe, after_save(3, until_pushed(message))):
        pass
    names = set(hub.repos["alice/tuned"].commits[1].files)
    assert "model.safetensors" in names
    assert {name for name in names if name.startswith("run/")} == {
        "run/manifest.json", "run/metrics.jsonl", "run/recipe.yaml",
    }  # fmt: skip


@pytest.mark.slow
def test_of_several_seeds_the_result_is_pushed(hub: Hub, build: Callable[..., Recipe]) -> None:
    with pushed(build("publish.hub_id=tuned", "training.seeds=2", "training.epochs=1")) as (run, _):
        pass
    assert hub.repos["alice/tuned"].messages == ["Training complete"]
    assert run.hub_url is not None


def test_a_disk_that_cannot_be_written_is_said(hub: Hub, build: Callable[..., Recipe]) -> None:
    def spoil() -> None:
        shutil.rmtree("runs/tuned/hub", ignore_errors=True)
        Path("runs/tuned/hub").write_text("no folder")

    def begin(event: Event) -> None:
        if type(event).__name__ == "Planned":
            spoil()

    with pushed(build("publish.hub_id=tuned"), begin) as (run, lines):
        pass
    assert any(line.startswith("Pushing to the Hub failed: ") for line in lines)
    assert run.model_folder.is_dir()
