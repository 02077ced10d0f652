"""A run whose model is sharded, as `accelerate launch` with FSDP asks for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError
from attuner.training.launch import computes_on_processor

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import nn

    from attuner.recipe import Recipe


def is_sharding_asked() -> bool:
    """Whether `accelerate launch` was given a configuration with FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


@dataclass(frozen=True, slots=True)
class Sharding:
    """How to shard, as accelerate was told.

    Attributes:
        mesh: The processes; None where all share one model.
        computes_in: Type of gathered weights; None for fp32.
        frees_after_forward: Whether a layer is gathered again for its backward pass.
        offload: torch's policy for keeping shares in the processor's memory.
    """

    mesh: Any = None
    computes_in: torch.dtype | None = None
    frees_after_forward: bool = True
    offload: Any = None


def require_shardable(recipe: Recipe, num_processes: int) -> None:
    """Refuse what cannot be sharded before any data are read, where it is asked for.

    Raises:
        RunError: There are no accelerators to shard over, or an option does not go with sharding.
    """
    if not is_sharding_asked():
        return
    from accelerate.utils import FullyShardedDataParallelPlugin

    if computes_on_processor(recipe.training.device):
        raise RunError(
            "accelerate was told to shard the model (FSDP), but the run computes on a processor.",
            "Models are sharded over accelerators such as GPUs.",
            "Start it where there are some, with training.device=auto, or without FSDP: "
            "torchrun --nproc-per-node 2 -m attuner train recipe.yaml",
        )
    if num_processes == 1:
        raise RunError(
            "accelerate was told to shard the model (FSDP), but there is one process.",
            "Models are sharded among several, each with an accelerator of its own.",
            "Ask for as many: accelerate launch --num_processes 8 ...; or start it without FSDP.",
        )
    _require(recipe, FullyShardedDataParallelPlugin(), recipe.training.precision)


def asked_sharding(recipe: Recipe, accelerator: Accelerator) -> Sharding | None:
    """How to shard, where `accelerate launch` asks for it.

    Raises:
        RunError: An option does not go with sharding, such as the precision that was chosen.
    """
    if not is_sharding_asked():
        return None
    import torch

    plugin = accelerator.state.fsdp_plugin
    _require(recipe, plugin, accelerator.mixed_precision)
    mesh = getattr(accelerator, "torch_device_mesh", None)
    if mesh is not None:
        mesh = mesh[tuple(accelerator.parallelism_config.fsdp_dim_names)]
    return Sharding(
        mesh,
        torch.bfloat16 if accelerator.mixed_precision == "bf16" else None,
        bool(plugin.reshard_after_forward),
        plugin.cpu_offload,
    )


def _require(recipe: Recipe, plugin: Any, mixed_precision: str) -> None:
    """Refuse what would be ignored or has not been shown to be right, all at once."""
    training = recipe.training
    refused = {
        "fsdp_version: 1": (plugin.fsdp_version != 2, "set fsdp_version: 2"),
        "fsdp_activation_checkpointing": (
            plugin.activation_checkpointing,
            "set training.gradient_checkpointing=true in the recipe instead",
        ),
        "fsdp_cpu_ram_efficient_loading": (
            plugin.cpu_ram_efficient_loading,
            "set fsdp_cpu_ram_efficient_loading: false",
        ),
        "training.precision=fp16": (mixed_precision == "fp16", "set training.precision=bf16"),
        "training.ema": (training.ema is not None, "leave it out"),
        "training.average_checkpoints": (
            training.average_checkpoints is not None,
            "leave it out",
        ),
    }
    faults = [f"{name} ({remedy})" for name, (is_given, remedy) in refused.items() if is_given]
    if faults:
        raise RunError(
            f"{', '.join(name for name, (is_given, _) in refused.items() if is_given)}: not with a "
            "sharded model.",
            "Expected FSDP 2 (`fully_shard`), in bf16 or fp32, and one set of weights.",
            f"Change: {'; '.join(faults)}.",
        )


def prepare_sharded(
    model: nn.Module,
    accelerator: Accelerator,
    sharding: Sharding,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """Shard the model in place, and make its optimizer; see `models.sharding`.

    Called when it is chosen what is trained, and before anything holds on to parameters: hooks on
    gradients, optimizer, checkpoints.

    Raises:
        ModelError: It has no layers to shard.
    """
    from attuner.models.sharding import shard
    from attuner.training.optimizer import parameter_groups
    from attuner.training.sharded_adamw import ShardedAdamW

    shard(
        model,
        mesh=sharding.mesh,
        computes_in=sharding.computes_in,
        frees_after_forward=sharding.frees_after_forward,
        offload=sharding.offload,
    )
    if sharding.computes_in is not None:
        accelerator.native_amp = False  # what is gathered is bf16: nothing is left to cast
    groups = parameter_groups(model, weight_decay=weight_decay, layer_decay=layer_decay)
    optimizer: AcceleratedOptimizer = accelerator.prepare_optimizer(
        ShardedAdamW(groups, learning_rate=learning_rate)
    )
    return model, optimizer
