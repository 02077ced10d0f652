"""Checkpoints: the full state of a run, without pickle, written so that none is ever half.

A checkpoint is a folder `step-000123` with

    model.safetensors       trained weights and buffers, fp32
    ema.safetensors         the running mean of the trained weights, where there is one
    optimizer.safetensors   AdamW's moments, by parameter name
    random.safetensors      random states of torch (processor and accelerators)
    state.json              loop state, best so far, the batch plan's position

Frozen weights are not in it: they are those of the model that the run began with, whose fingerprint
is in the manifest. A checkpoint is written as `.step-000123.partial`, synced, and renamed: a folder
with the final name is complete.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError
from attuner.training.averaging import trained_weights
from attuner.training.loop import LoopState

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.training.averaging import Ema

MODEL, EMA = "model.safetensors", "ema.safetensors"
_FILES = (MODEL, "optimizer.safetensors", "random.safetensors", "state.json")


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: LoopState,
    *,
    scaler: torch.amp.GradScaler | None = None,
    ema: Ema | None = None,
) -> Path:
    """Write a checkpoint into `folder` (the run's `checkpoints`); returns its own folder.

    Args:
        folder: The run's `checkpoints`.
        model: The bare model.
        optimizer: The bare optimizer.
        state: Where the loop stands.
        scaler: That of fp16, where there is one.
        ema: The running mean, where there is one.

    Raises:
        OSError, SafetensorError: It cannot be written; nothing of it is left then.
    """
    from safetensors.torch import save_file

    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_weights(model), partial / MODEL)
        if ema is not None:
            save_file(dict(ema.weights), partial / EMA)
        save_file(_moments(model, optimizer), partial / "optimizer.safetensors")
        save_file(_random_states(), partial / "random.safetensors")
        about = {
            "loop": state.to_json(),
            "python_random": random.getstate(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        (partial / "state.json").write_text(json.dumps(about), encoding="utf-8")
        for file in partial.iterdir():
            _sync(file)
        _sync(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    scaler: torch.amp.GradScaler | None = None,
    ema: Ema | None = None,
) -> LoopState:
    """Put a checkpoint's weights, moments and random states back; returns the loop's state.

    All of it is read and looked at before any of it is put back.

    Raises:
        RunError: A file of it is missing or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    by_name = dict(_trained(model))
    try:
        weights = _read(folder / MODEL, _weights(model))
        means = None if ema is None else _read(folder / EMA, ema.weights)
        moments = {
            tuple(key.split(":", 1)): tensor
            for key, tensor in load_file(folder / "optimizer.safetensors").items()
        }
        randoms = load_file(folder / "random.safetensors")
        about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        loop = LoopState(**about["loop"])
        version, internal, gauss = about["python_random"]
        if unknown := {name for _, name in moments} - set(by_name):
            raise ValueError(f"the model has no {min(unknown)}")
        torch_state = randoms["torch"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    _put_back(weights, _weights(model))
    if ema is not None and means is not None:
        _put_back(means, ema.weights)
    for (what, name), tensor in moments.items():
        slot = optimizer.state[by_name[name]]
        slot[what] = tensor.to(by_name[name].device)
    torch.set_rng_state(torch_state)
    for index in range(torch.cuda.device_count()):
        if f"cuda:{index}" in randoms:
            torch.cuda.set_rng_state(randoms[f"cuda:{index}"], index)
    random.setstate((version, tuple(internal), gauss))
    if scaler is not None and about.get("scaler"):
        scaler.load_state_dict(about["scaler"])
    return loop


def read_weights(folder: Path, model: nn.Module, *, file: str = MODEL) -> dict[str, torch.Tensor]:
    """The trained weights in a checkpoint, of the names and shapes that the model has.

    Args:
        folder: The checkpoint.
        model: The bare model.
        file: `MODEL`, or `EMA` for their running mean.

    Raises:
        RunError: They are missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        return _read(folder / file, trained_weights(model))
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(folder, error) from error


def _read(path: Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors, if it has all that are wanted in their shapes."""
    from safetensors.torch import load_file

    stored: dict[str, torch.Tensor] = load_file(path)
    for name, tensor in wanted.items():
        if name not in stored or stored[name].shape != tensor.shape:
            raise ValueError(f"{path.name} has no {name} of shape {tuple(tensor.shape)}")
    return stored


def _put_back(stored: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy what was stored into the tensors of these names."""
    for name, tensor in tensors.items():
        tensor.copy_(stored[name])


def _damaged(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"{folder} is damaged: {error}",
        f"Expected the files {', '.join(_FILES)} of one checkpoint.",
    )


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
    """Trained parameters and all buffers, tied ones once, by name."""
    buffers = {name: tensor.detach() for name, tensor in model.named_buffers()}
    return {**trained_weights(model), **buffers}


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
