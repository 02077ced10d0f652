"""Runs of several processes end as those of one; and as a whole, whatever ends one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs_of_several import (
    LONG,
    LOST,
    alone,
    assert_same_run,
    events,
    folder_of,
    several,
    started,
    write_recipes,
)
from safetensors.torch import load_file
from several import environment, output, process_of, torchrun, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    write_recipes(folder, marian)
    return folder


@pytest.mark.parametrize(
    ("recipe", "num"), [("recipe.yaml", 2), ("recipe.yaml", 3), ("moods.yaml", 2)]
)
def test_a_run_of_several_processes_is_that_of_one(place: Path, recipe: str, num: int) -> None:
    names = [f"output.name={recipe[0]}{count}-of-{num}" for count in (1, num)]
    # The running mean is delivered: it is on all processes that it is made.
    one = alone(place, recipe, names[0], "training.ema={decay: 0.5}")
    found, text = several(num, place, recipe, names[1], "training.ema={decay: 0.5}")

    assert_same_run(found, one)
    assert json.loads(found.manifest.read_text())["processes"] == num
    assert text.count("The tuned model is in") == 1
    assert f"on {num} processes (cpu), fp32" in text
    assert "Traceback" not in text


def test_adapters_and_seeds_are_trained_by_several(place: Path) -> None:
    words = (
        "recipe.yaml", "output.name=seeds", "training.seeds=2", "training.epochs=1",
        "model.adapter={kind: lora, rank: 2}",
    )  # fmt: skip
    run, text = several(2, place, *words)

    assert len(run.seeds.read_text().splitlines()) == 2
    assert (run.model / "model.safetensors").is_file()
    assert text.count("The tuned model is in") == 1


def test_processes_that_are_stopped_go_on_as_if_they_had_not(place: Path) -> None:
    # Longer at first: so it is surely running when it is told to stop.
    running, run = started(2, place, *LONG, "training.max_steps=5000", "output.name=stopped")
    os.kill(process_of(running, 1), signal.SIGTERM)
    text = output(running, fails=True)

    assert text.count("Stopped by SIGTERM after step ") == 1
    how = "Go on with: attuner train --resume runs/stopped, started as several processes again\n"
    assert how in text
    last = max(int(path.name.split("-")[1]) for path in run.checkpoints.glob("step-*"))
    assert last < 5000
    other = ("-m", "attuner", "train", "--resume", "runs/stopped", "training.max_steps=5000")
    refused = output(torchrun(3, *other, folder=place), fails=True)
    assert (
        "What the run is trained with has changed since the run began:\n"
        "  number of processes: 2 → 3 (sums would be rounded, and dropout drawn, otherwise)\n"
    ) in refused
    assert refused.count("number of processes: 2 → 3") == 1
    until = f"training.max_steps={last + 20}"
    whole, _ = several(2, place, *LONG, until, "output.name=whole")
    words = ("-m", "attuner", "train", "--resume", "runs/stopped")
    output(torchrun(2, *words, until, "--inexact", folder=place))
    ours, wanted = (load_file(r.model / "model.safetensors") for r in (run, whole))
    for name, weight in wanted.items():
        assert weight.equal(ours[name]), name


@pytest.mark.parametrize(("num", "victim"), [(2, 1), (3, 0)])
def test_a_process_that_is_killed_ends_the_others(place: Path, num: int, victim: int) -> None:
    words = (*LONG, "training.max_steps=9000", f"output.name=killed-{victim}")
    running, _ = started(num, place, *words)
    began = time.monotonic()
    os.kill(process_of(running, victim), signal.SIGKILL)
    text = output(running, fails=True)

    assert time.monotonic() - began < 30
    assert LOST.format(f"{victim} of {num}") in text


def without_torchrun(place: Path, rank: int, words: tuple[str, ...]) -> subprocess.Popen[str]:
    variables = {
        "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "attuner", "train", *words],
        cwd=place, env={**environment(), **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_nobody_else_is_needed_to_end_them(place: Path) -> None:
    words = (*LONG, "training.max_steps=9000", "output.name=alone")
    first, second = (without_torchrun(place, rank, words) for rank in (0, 1))
    metrics = folder_of(place, words).metrics
    wait_until(lambda: metrics.exists() and '"step": 10,' in metrics.read_text(), first)
    began = time.monotonic()
    second.kill()
    text = output(first, fails=True)

    assert time.monotonic() - began < 30
    assert text.endswith(LOST.format("1 of 2"))
    assert "Traceback" not in text
    assert second.communicate()[0] == ""


def test_what_the_user_can_mend_is_said_once(place: Path) -> None:
    words = ("recipe.yaml", "output.name=taken")
    (place / "runs/taken").mkdir(parents=True)
    text = output(torchrun(2, "-m", "attuner", "train", *words, folder=place), fails=True)

    assert text.count("runs/taken exists already.") == 1
    assert list((place / "runs/taken").iterdir()) == []


def test_two_hosts_train_together(place: Path, hosts: Callable[..., list[str]]) -> None:
    options = (
        "--nnodes=2", "--rdzv-backend=c10d", "--rdzv-endpoint=10.231.7.1:29531",
        "--rdzv-id=attuner", "--nproc_per_node=1",
    )  # fmt: skip
    words = ("recipe.yaml", "output.name=hosts")
    running = [
        subprocess.Popen(
            [
                *hosts(number), sys.executable, "-m", "torch.distributed.run", *options,
                # Else torchrun looks for the address among those of the machine's name.
                f"--local-addr=10.231.7.{number + 1}", f"--rdzv-conf=is_host={1 - number}",
                "-m", "attuner", "train", *words,
            ],
            cwd=place, env={**environment(), "GLOO_SOCKET_IFNAME": "attuner0"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for number in (0, 1)
    ]  # fmt: skip
    texts = [output(one) for one in running]

    assert sum(text.count("The tuned model is in") for text in texts) == 1
    found = folder_of(place, words)
    one = alone(place, "recipe.yaml", "output.name=one-host")
    for ours, wanted in zip(events(found, "stepped"), events(one, "stepped"), strict=True):
        assert ours["loss"] == pytest.approx(wanted["loss"], rel=1e-6)
    for ours, wanted in zip(events(found, "evaluated"), events(one, "evaluated"), strict=True):
        assert ours["scores"] == pytest.approx(wanted["scores"], rel=1e-6)


@pytest.fixture
def hosts() -> Iterator[Callable[[int], list[str]]]:
    """Two network namespaces with a cable between them, as two machines have."""
    names = [f"attuner-{os.getpid()}-{number}" for number in (0, 1)]
    ours, theirs = (f"att{os.getpid() % 10_000}{letter}" for letter in "ab")
    commands = [
        *(f"netns add {name}" for name in names),
        f"link add {ours} type veth peer name {theirs}",
        *(
            command
            for number, (name, cable) in enumerate(zip(names, (ours, theirs), strict=True))
            for command in (
                f"link set {cable} netns {name} name attuner0",
                f"-n {name} addr add 10.231.7.{number + 1}/24 dev attuner0",
                f"-n {name} link set attuner0 up",
                f"-n {name} link set lo up",
            )
        ),
    ]
    try:
        for command in commands:
            try:
                done = subprocess.run(
                    ["ip", *command.split()], capture_output=True, text=True, check=False
                )
            except FileNotFoundError:
                pytest.skip("no ip command here to make network namespaces with")
            if done.returncode:
                pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
        yield lambda number: ["ip", "netns", "exec", names[number]]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def test_a_script_gets_the_run_on_every_process(place: Path) -> None:
    script = place / "script.py"
    script.write_text(
        "import os\n"
        "import attuner\n"
        "run = attuner.train('recipe.yaml', 'output.name=script', 'training.epochs=1')\n"
        "assert run.model_folder.is_dir()\n"
        "with open(f'scores-{os.environ[\"RANK\"]}.txt', 'w') as file:\n"
        "    print(sorted(run.after.items()), file=file)\n"
        "again = attuner.train('recipe.yaml', 'output.name=again', 'training.epochs=1')\n"
        "assert again.after == run.after\n",
        encoding="utf-8",
    )
    output(torchrun(2, script, folder=place))
    first, second = ((place / f"scores-{rank}.txt").read_text() for rank in (0, 1))
    assert first == second
