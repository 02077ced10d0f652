"""Checkpoints: the full state of a run, without pickle, written so that none is ever half.

A checkpoint is a folder `step-000123` with

    model.safetensors       weights, fp32
    optimizer.safetensors   AdamW's moments, by parameter name
    random.safetensors      random states of torch (processor and accelerators)
    state.json              loop state, best so far, the batch plan's position

It is written as `.step-000123.partial`, synced, and renamed: a folder with the final name is
complete.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError
from attuner.training.loop import LoopState

if TYPE_CHECKING:
    import torch
    from torch import nn

_FILES = ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json")


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: LoopState
) -> Path:
    """Write a checkpoint into `folder` (the run's `checkpoints`); returns its own folder.

    Raises:
        RunError: It cannot be written.
    """
    from safetensors.torch import save_file

    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_weights(model), partial / "model.safetensors")
        save_file(_moments(model, optimizer), partial / "optimizer.safetensors")
        save_file(_random_states(), partial / "random.safetensors")
        about = {"loop": state.to_json(), "python_random": random.getstate()}
        (partial / "state.json").write_text(json.dumps(about), encoding="utf-8")
        for name in _FILES:
            _sync(partial / name)
        _sync(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"{final}: the checkpoint cannot be written: {error.strerror or error}.",
            "Expected a writable folder with room for three times the model in fp32.",
            "Make room, then go on with: attuner train --resume " + str(folder.parent),
        ) from error
    return final


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> LoopState:
    """Put a checkpoint's weights, moments and random states back; returns the loop's state.

    Raises:
        RunError: A file of it is missing or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        load_weights(folder, model)
        moments = load_file(folder / "optimizer.safetensors")
        randoms = load_file(folder / "random.safetensors")
        about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        loop = LoopState(**about["loop"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder} is damaged: {error}",
            "Expected the files " + ", ".join(_FILES) + " of one checkpoint.",
            "Delete the folder: resuming then takes the checkpoint before it.",
        ) from error
    by_name = dict(_trained(model))
    for key, tensor in moments.items():
        what, name = key.split(":", 1)
        slot = optimizer.state[by_name[name]]
        slot[what] = tensor if what == "step" else tensor.to(by_name[name].device)
    torch.set_rng_state(randoms["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda:{index}" in randoms:
            torch.cuda.set_rng_state(randoms[f"cuda:{index}"], index)
    version, internal, gauss = about["python_random"]
    random.setstate((version, tuple(internal), gauss))
    return loop


def load_weights(folder: Path, model: nn.Module) -> None:
    """Put a checkpoint's weights into the model."""
    import torch
    from safetensors.torch import load_file

    stored = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, tensor in _weights(model).items():
            tensor.copy_(stored[name])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run's `checkpoints`, oldest first."""
    found = [path for path in folder.glob("step-*") if (path / "state.json").is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Delete all checkpoints but the `keep` latest and the best."""
    best = f"step-{best_step:06d}" if best_step is not None else ""
    for path in checkpoints(folder)[:-keep]:
        if path.name != best:
            shutil.rmtree(path, ignore_errors=True)


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, tied ones once, by name."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's state as `exp_avg:NAME`, `exp_avg_sq:NAME`, `step:NAME`."""
    return {
        f"{what}:{name}": tensor
        for name, parameter in _trained(model)
        for what, tensor in optimizer.state.get(parameter, {}).items()
    }


def _random_states() -> dict[str, Any]:
    import torch

    states = {"torch": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    return states


def _sync(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
