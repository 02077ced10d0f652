"""What a launcher announces, and what is refused of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from attuner.errors import RecipeError, RunError
from attuner.recipe import Recipe
from attuner.training.check import check
from attuner.training.launch import is_shown_here, joined, thread_note
from attuner.training.processes import ALONE, Processes

# What `accelerate launch` gives to a process.
ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "OMP_NUM_THREADS": "1"}


def refusal(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(RunError) as caught, joined("cpu"):
        pass
    assert dict(os.environ) == before
    return str(caught.value)


def test_one_process_is_alone() -> None:
    with joined("auto") as processes:
        assert processes is ALONE


def test_one_process_of_accelerate_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ACCELERATE.items():
        monkeypatch.setenv(name, value)
    with joined("auto") as processes:
        assert processes is ALONE


def test_accelerate_that_starts_one_process_for_two_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert refusal(monkeypatch, {**ACCELERATE, **met}) == (
        "accelerate launch was asked for several processes, and has started one: so it does where "
        "it finds fewer than two accelerators.\n"
        "Expected as many processes as were asked for.\n"
        "Type: torchrun --nproc_per_node 2 -m attuner train ..., or accelerate launch --multi_gpu "
        "--num_processes 2 -m attuner train ...; or ask for one process."
    )


@pytest.mark.parametrize(
    ("variable", "name"),
    [("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM")],
)
def test_other_engines_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    assert refusal(monkeypatch, {"WORLD_SIZE": "2", variable: "true"}) == (
        f"accelerate launch was asked for {name}.\n"
        "This version trains with the whole model on each process (data parallel).\n"
        "Leave that option out, or take it out of accelerate's configuration."
    )


def test_processes_that_do_not_find_one_another_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MASTER_ADDR", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    message = refusal(monkeypatch, {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"})

    assert message.startswith(
        "The 2 processes that were announced did not find one another: Tried to launch"
    )
    assert message.endswith(
        "Expected all of them to be started, and each machine to reach the one of process 0.\n"
        "Start them with torchrun or accelerate launch, on each machine with the same address; if "
        "a machine has several networks, name the one to use: GLOO_SOCKET_IFNAME=eth0"
    )


def test_a_check_is_done_by_one_process(
    lesson_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError) as caught:
        check(lesson_recipe())
    assert str(caught.value) == (
        "Started as one of 2 processes.\n"
        "Only training is shared out among processes.\n"
        "Start it without torchrun or accelerate launch."
    )


def test_a_faulty_recipe_is_shown_once_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RecipeError("recipe.yaml has 1 fault")
    assert is_shown_here(error)
    monkeypatch.setenv("WORLD_SIZE", "4")
    shown = []
    for rank in range(4):  # two on each of two machines
        monkeypatch.setenv("LOCAL_RANK", str(rank % 2))
        shown.append(is_shown_here(error))
    assert shown == [True, False, True, False]


def test_processors_without_work_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert thread_note(ALONE, 1) == ""
    assert thread_note(Processes(0, 8), 4) == ""
    assert thread_note(Processes(0, 8), 1) == (
        "4 processes use 4 of this machine's 16 processors: torchrun gives each one thread. Set "
        "OMP_NUM_THREADS=4."
    )
