"""Sharding: each process keeps a share of every weight, and has a layer whole only while it is due.

torch's `fully_shard` (Zhao et al. 2023, weight by weight) gathers a layer before its forward and
its backward pass, and afterwards leaves each process its share of the summed gradient. What lies
outside of layers (embeddings, the output layer that shares their weights, last norms) is gathered
with the model as a whole, so that the loss of `models.objective`, in the model's forward, finds it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attuner.errors import ModelError

_LAYER_DROPS = ("encoder_layerdrop", "decoder_layerdrop", "layerdrop")


def shard(
    model: nn.Module,
    *,
    mesh: Any = None,
    computes_in: torch.dtype | None = None,
    frees_after_forward: bool = True,
    offload: Any = None,
) -> None:
    """Shard a model in place, layer by layer; every process calls it with the same weights.

    Args:
        model: The bare model in fp32. Its parameters become `DTensor`s: what is made of them
            (optimizer, hooks) is made afterwards.
        mesh: The processes, as a `DeviceMesh`: of one dimension to shard over, or of two, copies
            and shares (HYBRID). All processes where None.
        computes_in: Type that gathered weights have. Shares, gradients and sums are fp32 always.
        frees_after_forward: Whether a layer is gathered again for its backward pass.
        offload: torch's `OffloadPolicy`; None keeps the shares where the model computes.

    Raises:
        ModelError: The model has no layers that are known as such, or skips some at random.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, OffloadPolicy, fully_shard

    layers = layers_of(model)
    if not layers:
        family: Any = model.config
        raise ModelError(
            f"FSDP: {family.model_type} models have no layers that could be sharded one by one.",
            "Expected a model whose layers transformers marks as such.",
            "Start it without FSDP: each process then holds the whole model.",
        )
    _require_all_layers(model)
    policy = MixedPrecisionPolicy(
        param_dtype=computes_in,
        reduce_dtype=None if computes_in is None else torch.float32,
        # Token ids come in. To cast would be to copy the layout of packed rows in each layer, and
        # to find out anew which sequences are of like length.
        cast_forward_inputs=False,
    )
    options: dict[str, Any] = {
        "mesh": mesh, "mp_policy": policy, "offload_policy": offload or OffloadPolicy()
    }  # fmt: skip
    for layer in layers:
        fully_shard(layer, reshard_after_forward=frees_after_forward, **options)
    # Its backward pass comes right after its forward: it stays gathered in between.
    fully_shard(model, reshard_after_forward=False, **options)
    for module in (*layers, model):
        _sum_gradients(module)


def _require_all_layers(model: nn.Module) -> None:
    """Refuse LayerDrop (Fan et al. 2019): who skips a layer would not gather it with the others."""
    config: Any = model.config
    names = [name for name in _LAYER_DROPS if getattr(config, name, 0.0)]
    if names:
        given = ", ".join(f"{name}={getattr(config, name)}" for name in names)
        raise ModelError(
            f"FSDP: this model skips layers at random ({given}), each process others.",
            "All processes gather each layer of a sharded model together.",
            f"Set {' and '.join(names)} to 0.0 in a copy of its config.json, or start it without "
            "FSDP.",
        )


def _sum_gradients(module: Any) -> None:
    """Add gradients up over processes, where torch would take their mean.

    An update is scaled by its target tokens in all, not by the number of processes.
    """
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)  # NCCL would multiply by 1, gloo cannot


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of encoder and decoder: those that gradient checkpointing knows, outermost."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, GradientCheckpointingLayer) and not is_inside:
            found[name] = module
    return list(found.values())


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a share of it only."""
    return hasattr(tensor, "device_mesh")  # a `DTensor`, which takes half a second to import


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sharded tensors as whole ones, on the processor, for the first process; others get none.

    Every process calls it, with the same names in the same order. One tensor at a time is whole
    where the model computes.
    """
    is_first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        sharded: Any = tensor.detach()
        full: Tensor = sharded.full_tensor() if is_sharded(sharded) else sharded
        if is_first:
            whole[name] = full.cpu()
    return whole


@torch.no_grad()
def scatter(whole: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors of the first process into sharded ones, of which each takes its share.

    The reverse of `gathered`: every process calls it; only the first need have `whole`.
    """
    is_shared = torch.distributed.is_initialized()
    is_first = not is_shared or torch.distributed.get_rank() == 0
    for name, tensor in tensors.items():
        full = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if is_first:
            full.copy_(whole[name])
        if is_shared:
            torch.distributed.broadcast(full, src=0)
        _local(tensor).copy_(full[_rows(tensor)] if is_sharded(tensor) else full)


def own_row(tensor: Tensor, row: int) -> Tensor | None:
    """A row of a tensor as a view of it; None where another process holds it."""
    if not is_sharded(tensor):
        return tensor[row]
    rows = _rows(tensor)
    return _local(tensor)[row - rows.start] if rows.start <= row < rows.stop else None


def num_held(model: nn.Module) -> int:
    """Numbers that this process holds of a model's weights, tied ones once."""
    return sum(_local(parameter).numel() for parameter in model.parameters())


def outline(model: nn.Module) -> nn.Module:
    """A copy of a model without its weights: what stays of it before it is sharded."""
    return _with_weights(
        model,
        lambda _, old: nn.Parameter(torch.empty_like(old, device="meta"), old.requires_grad),
    )


def filled(outline: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """The plain model of an outline and whole weights, to be scored and delivered."""
    return _with_weights(outline, lambda name, old: nn.Parameter(weights[name], old.requires_grad))


def _with_weights(model: nn.Module, make: Callable[[str, nn.Parameter], nn.Parameter]) -> nn.Module:
    """A deep copy with other weights in the place of its own, which are not copied; ties stay."""
    return copy.deepcopy(
        model, {id(old): make(name, old) for name, old in model.named_parameters()}
    )


def _rows(tensor: Any) -> slice:
    """The rows of a sharded tensor that this process holds, as `torch.chunk` divides them."""
    start, stop = 0, len(tensor)
    for dimension, placement in enumerate(tensor.placements):
        if placement.is_shard():
            size = -(-len(tensor) // tensor.device_mesh.size(dimension))
            start = min(size * tensor.device_mesh.get_local_rank(dimension), len(tensor))
            stop = min(start + size, len(tensor))
    return slice(start, stop)


def _local(tensor: Any) -> Tensor:
    """What this process holds of a tensor, as a view."""
    with torch.no_grad():
        local: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return local
