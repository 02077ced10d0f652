"""Sharded models: two processes of gloo, each with its share, do what one does with all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from sharded import CASES, MAX_NORM, unsharded
from tiny import PAD, tiny_model
from torch import nn

from attuner.errors import ModelError, RunError
from attuner.models.sharding import filled, layers_of, outline, own_row, scatter, shard
from attuner.recipe import Recipe
from attuner.training import sharding
from attuner.training.events import Begun, Event
from attuner.training.run import train
from attuner.training.sharding import Sharding, asked_sharding, require_shardable

TESTS = Path(__file__).parents[1]
EXACT = [name for name, case in CASES.items() if case.computes_in is None]


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what came of the cases."""
    folder = tmp_path_factory.mktemp("shares")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    processes = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "sharded.py"), str(rank), "2", str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        said, _ = process.communicate(timeout=400)
        assert process.returncode == 0, said
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_two_shares_make_the_update_of_one_whole(name: str, shares: Path) -> None:
    expected, found = unsharded(CASES[name]), torch.load(shares / f"{name}.pt")

    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["norm"] == pytest.approx(expected["norm"], rel=1e-5)
    assert found["norm"] > MAX_NORM  # else clipping would not be seen
    for what in ("grads", "moments", "weights"):
        assert found[what].keys() == expected[what].keys()
        torch.testing.assert_close(found[what], expected[what], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_frozen_pad_row_stays_where_one_process_has_it(shares: Path) -> None:
    weights = torch.load(shares / "marian.pt")["weights"]["model.shared.weight"]
    assert not weights[PAD].any()
    assert weights[PAD + 1].any()


@pytest.mark.slow
def test_in_bf16_the_shares_stay_fp32_and_the_update_is_near(shares: Path) -> None:
    expected, found = unsharded(CASES["marian"]), torch.load(shares / "marian in bf16.pt")

    assert found["dtypes"] == {"torch.float32"}
    assert found["loss"] != expected["loss"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.01)
    assert found["norm"] == pytest.approx(expected["norm"], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_process_holds_its_share_only(name: str, shares: Path) -> None:
    held = [json.loads((shares / f"held-{rank}.json").read_text())[name] for rank in range(2)]

    assert sum(one["weights"] for one in held) == held[0]["all"]
    assert sum(one["moments"] for one in held) == held[0]["trained"]
    for one in held:
        assert one["weights"] / one["all"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXACT if name != "marian with an adapter"])
def test_what_is_gathered_makes_a_plain_model(name: str, shares: Path) -> None:
    model, *_ = CASES[name].make()
    found = torch.load(shares / f"{name}.pt")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(found["plain"])
    for path, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), found["weights"][path], rtol=0, atol=0)
    assert found["plain"].keys() == model.state_dict().keys()


def test_an_outline_has_no_weights_and_is_filled_with_its_ties() -> None:
    model = tiny_model()
    empty = outline(model)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}

    made = filled(empty, {name: p.detach().clone() for name, p in model.named_parameters()})
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight  # type: ignore[operator]
    assert all(
        torch.equal(one, other)
        for one, other in zip(made.state_dict().values(), model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("family", "num"), [("marian", 4), ("t5", 4), ("m2m_100", 4)])
def test_layers_are_those_of_encoder_and_decoder(family: str, num: int) -> None:
    assert len(layers_of(tiny_model(family))) == num


def test_plain_tensors_are_copied_as_they_are() -> None:
    tensor = torch.zeros(3, 2)
    scatter({"a": torch.ones(3, 2)}, {"a": tensor})
    row = own_row(tensor, 1)
    assert row is not None
    row[:] = 5
    assert tensor.tolist() == [[1, 1], [5, 5], [1, 1]]


def test_a_model_without_known_layers_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(model_type="abacus")  # type: ignore[assignment]
    with pytest.raises(ModelError) as caught:
        shard(model)
    assert str(caught.value) == (
        "FSDP: abacus models have no layers that could be sharded one by one.\n"
        "Expected a model whose layers transformers marks as such.\n"
        "Start it without FSDP: each process then holds the whole model."
    )


def test_a_model_that_skips_layers_at_random_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        shard(tiny_model("m2m_100", layerdrop=0.05))
    assert str(caught.value) == (
        "FSDP: this model skips layers at random (encoder_layerdrop=0.05, "
        "decoder_layerdrop=0.05), each process others.\n"
        "All processes gather each layer of a sharded model together.\n"
        "Set encoder_layerdrop and decoder_layerdrop to 0.0 in a copy of its config.json, or start "
        "it without FSDP."
    )


def recipe(**training: Any) -> Recipe:
    task = {"name": "translation", "source": "en", "target": "fr"}
    return Recipe.model_validate(
        {"task": task, "model": "m", "data": "d.csv", "training": training}
    )


def launched(**plugin: Any) -> Any:
    """As accelerate is on GPUs, told to shard."""
    options = {"fsdp_version": 2, "activation_checkpointing": False} | plugin
    options.setdefault("cpu_ram_efficient_loading", False)
    return SimpleNamespace(
        mixed_precision=options.pop("mixed_precision", "bf16"),
        state=SimpleNamespace(
            fsdp_plugin=SimpleNamespace(reshard_after_forward=True, cpu_offload=None, **options)
        ),
    )


def test_nothing_is_sharded_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert asked_sharding(recipe(), Accelerator(cpu=True)) is None


def test_accelerates_options_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert asked_sharding(recipe(), launched()) == Sharding(None, torch.bfloat16, True, None)
    plain = asked_sharding(recipe(), launched(mixed_precision="no"))
    assert plain == Sharding(None, None, True, None)


def test_sharding_without_an_accelerator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RunError) as caught:
        require_shardable(recipe(device="cpu"), 2)
    assert str(caught.value) == (
        "accelerate was told to shard the model (FSDP), but the run computes on a processor.\n"
        "Models are sharded over accelerators such as GPUs.\n"
        "Start it where there are some, with training.device=auto, or without FSDP: "
        "torchrun --nproc-per-node 2 -m attuner train recipe.yaml"
    )


def test_one_process_has_nobody_to_share_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(sharding, "computes_on_processor", lambda device: False)
    with pytest.raises(RunError) as caught:
        require_shardable(recipe(), 1)
    assert str(caught.value) == (
        "accelerate was told to shard the model (FSDP), but there is one process.\n"
        "Models are sharded among several, each with an accelerator of its own.\n"
        "Ask for as many: accelerate launch --num_processes 8 ...; or start it without FSDP."
    )


def test_what_cannot_be_sharded_is_refused_before_any_data_are_read(
    monkeypatch: pytest.MonkeyPatch, lesson_recipe: Callable[..., Recipe]
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    events: list[Event] = []
    with pytest.raises(RunError, match="but the run computes on a processor"):
        train(lesson_recipe("training.device=cpu"), listeners=[events.append])
    assert [type(event) for event in events] == [Begun]

    monkeypatch.setattr(sharding, "computes_on_processor", lambda device: False)
    monkeypatch.setenv("FSDP_VERSION", "2")
    require_shardable(recipe(), 2)
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    with pytest.raises(RunError) as caught:
        require_shardable(recipe(average_checkpoints=2), 2)
    assert caught.value.happened == (
        "fsdp_cpu_ram_efficient_loading, training.average_checkpoints: not with a sharded model."
    )


def test_what_does_not_go_with_sharding_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    accelerator = launched(
        fsdp_version=1, activation_checkpointing=True, cpu_ram_efficient_loading=True,
        mixed_precision="fp16",
    )  # fmt: skip
    with pytest.raises(RunError) as caught:
        asked_sharding(recipe(ema={}), accelerator)
    assert str(caught.value) == (
        "fsdp_version: 1, fsdp_activation_checkpointing, fsdp_cpu_ram_efficient_loading, "
        "training.precision=fp16, training.ema: not with a sharded model.\n"
        "Expected FSDP 2 (`fully_shard`), in bf16 or fp32, and one set of weights.\n"
        "Change: fsdp_version: 1 (set fsdp_version: 2); fsdp_activation_checkpointing (set "
        "training.gradient_checkpointing=true in the recipe instead); "
        "fsdp_cpu_ram_efficient_loading (set fsdp_cpu_ram_efficient_loading: false); "
        "training.precision=fp16 (set training.precision=bf16); training.ema (leave it out)."
    )
