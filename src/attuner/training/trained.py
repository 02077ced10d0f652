"""The model that a run trains: whole on each process, or in shares with a plain copy beside."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from attuner.training import setup

if TYPE_CHECKING:
    import torch
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import nn

    from attuner.recipe import Recipe
    from attuner.training.processes import Processes
    from attuner.training.shares import Shares


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and its optimizer, as the loop has them and as all else does.

    Attributes:
        model: What is trained, bare: what hooks are put into.
        prepared: The same, as accelerate prepared it.
        optimizer: Its optimizer, likewise.
        plain: What is saved, scored and delivered: the model itself, or the copy of a sharded one.
        plain_optimizer: What checkpoints have moments of: the bare optimizer, or the copy's.
        computing: Makes the block that a forward of `plain` runs in: the precision of the matrix
            products.
        shares: Of a sharded model.
    """

    model: nn.Module
    prepared: nn.Module
    optimizer: AcceleratedOptimizer
    plain: nn.Module
    plain_optimizer: torch.optim.Optimizer
    computing: Callable[[], AbstractContextManager[None]]
    shares: Shares | None = None


def build_trained(
    recipe: Recipe, model: nn.Module, device: setup.Device, processes: Processes
) -> Trained:
    """Make the optimizer; before that shard the model, where `accelerate launch` asks for it.

    Called when it is chosen what is trained, and before anything holds on to parameters.

    Args:
        recipe: The recipe.
        model: The bare model in fp32, the same on all processes; it may be sharded in place.
        device: Where it computes.
        processes: Who trains it.

    Raises:
        RunError: It cannot be sharded here, or not with this recipe.
        ModelError: It has no layers to shard.
    """
    from attuner.training.sharding import asked_sharding

    options = recipe.training
    rates: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "layer_decay": options.layer_decay,
    }
    sharding = asked_sharding(recipe, device.accelerator)
    if sharding is not None:
        return _sharded(model, device, processes, sharding, rates)
    from attuner.training.optimizer import build_optimizer

    optimizer = build_optimizer(model, computes_in=device.computes_in, **rates)
    prepared, accelerated = setup.prepare(device.accelerator, model, optimizer)
    computing = optimizer.computing if device.computes_in else device.accelerator.autocast
    return Trained(model, prepared, accelerated, model, optimizer, computing)


def _sharded(
    model: nn.Module,
    device: setup.Device,
    processes: Processes,
    sharding: Any,
    rates: dict[str, Any],
) -> Trained:
    import torch

    from attuner.models.sharding import outline
    from attuner.training.sharding import prepare_sharded
    from attuner.training.shares import Shares

    before = outline(model)
    prepared, accelerated = prepare_sharded(model, device.accelerator, sharding, **rates)
    shares = Shares(before, model, accelerated.optimizer, processes)
    computing: Callable[[], Any] = nullcontext
    if sharding.computes_in is not None:
        kind = device.accelerator.device.type
        computing = partial(torch.autocast, kind, dtype=sharding.computes_in)
    return Trained(model, prepared, accelerated, shares.model, shares.optimizer, computing, shares)
