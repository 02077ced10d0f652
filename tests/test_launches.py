"""The configurations for `accelerate launch` say to accelerate what they say to people."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from launches import launch_environment
from typer.testing import CliRunner

from attuner.cli.app import app
from attuner.ready_recipes import copy_recipe, list_launches, list_recipes

# Name → machines, processes in all, copies of the model, shares of each.
LAUNCHES = {"fsdp-8-gpus": (1, 8, 1, 8), "fsdp-4x8-gpus": (4, 32, 4, 8)}


def test_every_launch_is_tried_and_none_has_a_recipes_name() -> None:
    assert set(list_launches()) == set(LAUNCHES)
    assert not set(list_launches()) & set(list_recipes())


@pytest.mark.parametrize("name", LAUNCHES)
def test_accelerate_reads_it_and_sets_up_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines, processes, copies, shares = LAUNCHES[name]
    path = copy_recipe(name, tmp_path)
    config = load_config_from_file(str(path))
    assert config.distributed_type == DistributedType.FSDP
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.mixed_precision == "bf16"

    environment = launch_environment(path)
    with monkeypatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        plugin = FullyShardedDataParallelPlugin()
        mesh = ParallelismConfig() if copies > 1 else None
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert type(plugin.cpu_offload) is torch.distributed.fsdp.OffloadPolicy  # none
    assert plugin.auto_wrap_policy is None
    assert plugin.state_dict_type == torch.distributed.fsdp.StateDictType.FULL_STATE_DICT
    assert not plugin.cpu_ram_efficient_loading
    assert not plugin.activation_checkpointing
    assert copies * shares == processes
    if mesh is not None:
        assert (mesh.dp_replicate_size, mesh.dp_shard_size) == (copies, shares)
        assert mesh.fsdp_dim_names == ["dp_replicate", "dp_shard_cp"]
    else:
        assert environment.get("ACCELERATE_USE_PARALLELISM_CONFIG") is None


def test_the_list_names_recipes_and_launches() -> None:
    said = CliRunner().invoke(app, ["recipes", "list"]).stdout
    recipes, launches = said.split("\nFor accelerate launch --config_file:\n")
    assert [line.split()[0] for line in recipes.splitlines()] == list(list_recipes())
    assert [line.split()[0] for line in launches.splitlines()] == list(list_launches())


def test_a_copied_launch_says_how_to_use_it(tmp_path: Path) -> None:
    path = tmp_path / "eight.yaml"
    said = CliRunner().invoke(app, ["recipes", "copy", "fsdp-8-gpus", str(path)]).stdout
    assert said == (
        f"Wrote {path}. Train with it: accelerate launch --config_file {path} -m attuner train "
        "recipe.yaml\n"
    )
