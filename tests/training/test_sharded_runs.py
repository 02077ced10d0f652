"""Whole runs whose model is sharded end as those of one process, whatever comes between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import sharded_train
import torch
from launches import launch_environment
from runs_of_several import (
    LONG,
    LOST,
    alone,
    assert_same_run,
    folder_of,
    several,
    started,
    write_recipes,
)
from safetensors.torch import load_file
from several import output, process_of, torchrun

from attuner.ready_recipes import copy_recipe
from attuner.training.folder import RunFolder

pytestmark = pytest.mark.slow

# The gradient of a key's bias is zero but for rounding: it cancels out in the softmax.
KEYS = ("k_proj.bias", "key.bias")


@pytest.fixture(scope="module")
def place(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    write_recipes(folder, marian)
    return folder


def sharded(num: int, place: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """Start a run as `accelerate launch` with the shipped configuration would."""
    config = place / "fsdp-8-gpus.yaml"
    if not config.exists():
        copy_recipe("fsdp-8-gpus", place)
    asked = {
        name: value
        for name, value in launch_environment(config).items()
        if name.startswith("FSDP_") or name == "ACCELERATE_USE_FSDP"
    }
    script = sharded_train.__file__
    return torchrun(num, script, *words, folder=place, variables={**asked, **variables})


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run.model / "model.safetensors")
    return found


@pytest.mark.parametrize("recipe", ["recipe.yaml", "moods.yaml"])
def test_a_sharded_run_is_that_of_one_process(place: Path, recipe: str) -> None:
    # AdamW makes as large a step of a gradient that is next to nothing, and so of its rounding.
    words = (recipe, "training.learning_rate=0.0003")
    one = alone(place, *words, f"output.name={recipe[0]}-whole")
    found, text = several(2, place, *words, f"output.name={recipe[0]}-sharded", how=sharded)

    assert_same_run(found, one)
    for name, weight in weights(one).items():
        if name.endswith(KEYS):
            continue
        torch.testing.assert_close(weights(found)[name], weight, rtol=0, atol=1e-6)
    held = [json.loads((place / f"held-{rank}.json").read_text()) for rank in range(2)]
    assert sum(each["held"] for each in held) == held[0]["all"]
    assert held[0]["held"] / held[0]["all"] == pytest.approx(0.5, abs=0.01)
    assert json.loads(found.manifest.read_text())["sharded"]
    assert text.count("The model is sharded: each process keeps a share of all weights.") == 1
    assert text.count("The tuned model is in") == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("save", ["merged", "separate"])
def test_adapters_and_seeds_are_trained_in_shares(place: Path, save: str) -> None:
    words = (
        "recipe.yaml", "training.seeds=2", "training.epochs=1",
        f"model.adapter={{kind: lora, rank: 2, save: {save}}}",
    )  # fmt: skip
    one = alone(place, *words, f"output.name={save}-whole")
    found, text = several(2, place, *words, f"output.name={save}-sharded", how=sharded)

    for seed in ("seed-42", "seed-43"):
        assert_same_run(RunFolder(found.path / seed), RunFolder(one.path / seed))
    assert {path.name for path in found.model.iterdir()} == {
        path.name for path in one.model.iterdir()
    }
    assert text.count("The tuned model is in") == 1


def test_a_sharded_run_that_is_stopped_and_killed_ends_as_if_it_had_not_been(place: Path) -> None:
    words = (*LONG, "training.save_every_steps=25")
    running, run = started(2, place, *words, "output.name=stopped", how=sharded)
    os.kill(process_of(running, 1), signal.SIGTERM)
    assert output(running, fails=True).count("Stopped by SIGTERM after step ") == 1

    other = torchrun(2, "-m", "attuner", "train", "--resume", "runs/stopped", folder=place)
    assert (
        "What the run is trained with has changed since the run began:\n"
        "  sharded model: true → false (sums would be rounded otherwise)\n"
    ) in output(other, fails=True)

    running = sharded(2, place, "--resume", "runs/stopped")
    saved = max(int(path.name.split("-")[1]) for path in run.checkpoints.glob("step-*"))
    while f'"step": {saved + 10},' not in run.metrics.read_text():
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(process_of(running, 1), signal.SIGKILL)
    text = output(running, fails=True)
    assert time.monotonic() - began < 30
    assert LOST.format("1 of 2") in text

    output(sharded(2, place, "--resume", "runs/stopped"))
    whole, _ = several(2, place, *words, "output.name=never-stopped", how=sharded)
    last = "checkpoints/step-000120"
    for path in ("model/model.safetensors", f"{last}/optimizer.safetensors"):
        ours, wanted = (load_file(each.path / path) for each in (run, whole))
        assert ours.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert tensor.equal(ours[name]), name
    losses = [[e["loss"] for e in of(each, "stepped")] for each in (run, whole)]
    assert len(losses[0]) == 120
    assert losses[0] == losses[1]


def of(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] == kind]


def test_memory_that_runs_out_in_one_process_ends_all_in_words(place: Path) -> None:
    words = ("recipe.yaml", "output.name=short")
    text = output(sharded(2, place, *words, SHORT_OF_MEMORY="1"), fails=True)

    assert text.count(
        "Step 2: memory ran out on a micro-batch of 2 examples.\n"
        "A micro-batch of a sharded model is not cut in two: all processes gather its layers "
        "together, and the others are amid that.\n"
        "Start again with more of them, training.accumulation=2, or with "
        "training.gradient_checkpointing=true.\n"
    ) == 1  # fmt: skip
    assert not list(folder_of(place, words).checkpoints.glob("*"))


def test_what_does_not_go_with_shares_is_said_once(place: Path) -> None:
    words = ("recipe.yaml", "output.name=mean", "training.ema={}")
    text = output(sharded(2, place, *words), fails=True)

    assert text.count("training.ema: not with a sharded model.\n") == 1
    assert not folder_of(place, words).path.exists()
