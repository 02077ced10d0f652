"""Checkpoints: the full state of a run, without pickle.

A checkpoint is a folder `step-000123` (see `checkpoint_folder`) with

    model.safetensors       trained weights and buffers, fp32
    ema.safetensors         the running mean of the trained weights, where there is one
    optimizer.safetensors   AdamW's moments, by parameter name
    random.safetensors      random states of torch (processor and accelerators), of each process
    state.json              loop state, best so far, the batch plan's position, the random states of
                            Python and numpy, of each process, the scale of fp16 gradients
    manifest.json           the run's manifest, where it has one
    files.json              SHA-256 of the files above

Frozen weights are not in it: they are those of the model that the run began with, whose fingerprint
is in the manifest. Nor is the schedule: a learning rate follows from the step and the recipe.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.training.averaging import trained_weights
from attuner.training.checkpoint_folder import (
    STATE,
    checkpoint_name,
    require_whole,
    written_whole,
)
from attuner.training.loop import LoopState
from attuner.training.random_states import (
    RandomStates,
    from_files,
    put_back,
    random_states,
    to_json,
    to_tensors,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.training.averaging import Ema

MODEL, EMA = "model.safetensors", "ema.safetensors"
_OPTIMIZER, _RANDOM, _MANIFEST = "optimizer.safetensors", "random.safetensors", "manifest.json"
_FILES = (MODEL, _OPTIMIZER, _RANDOM, STATE)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: LoopState,
    *,
    scaler: torch.amp.GradScaler | None = None,
    ema: Ema | None = None,
    manifest: Path | None = None,
    is_stop: bool = False,
    randoms: Sequence[RandomStates] | None = None,
) -> Path:
    """Write a checkpoint into `folder` (the run's `checkpoints`); returns its own folder.

    Args:
        folder: The run's `checkpoints`.
        model: The bare model.
        optimizer: The bare optimizer.
        state: Where the loop stands.
        scaler: That of fp16, where there is one.
        ema: The running mean, where there is one.
        manifest: The run's manifest, of which a copy goes with it.
        is_stop: It is saved because the run was asked to stop.
        randoms: The random states of all processes; this one's where not given.

    Raises:
        OSError, SafetensorError: It cannot be written; nothing of it is left then.
    """
    from safetensors.torch import save_file

    final = folder / checkpoint_name(state.step, is_stop=is_stop)
    randoms = randoms or [random_states()]
    with written_whole(final) as partial:
        save_file(weights_and_buffers(model), partial / MODEL)
        if ema is not None:
            save_file(dict(ema.weights), partial / EMA)
        save_file(moments_of(model, optimizer), partial / _OPTIMIZER)
        save_file(to_tensors(randoms), partial / _RANDOM)
        about = {
            "loop": state.to_json(),
            **to_json(randoms),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        (partial / STATE).write_text(json.dumps(about), encoding="utf-8")
        if manifest is not None:
            shutil.copyfile(manifest, partial / _MANIFEST)
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

    All of it is read and looked at before any of it is put back. The random states are those of the
    main process; `read_random_states` has all.

    Raises:
        RunError: A file of it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    by_name = dict(_trained(model))
    try:
        require_whole(folder)
        weights = _read(folder / MODEL, weights_and_buffers(model))
        means = None if ema is None else _read(folder / EMA, ema.weights)
        moments = {
            tuple(key.split(":", 1)): tensor
            for key, tensor in load_file(folder / _OPTIMIZER).items()
        }
        about = json.loads((folder / STATE).read_text(encoding="utf-8"))
        loop = LoopState(**about["loop"])
        randoms = from_files(load_file(folder / _RANDOM), about)
        if unknown := {name for _, name in moments} - set(by_name):
            raise ValueError(f"the model has no {min(unknown)}")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    _put_back(weights, weights_and_buffers(model))
    if ema is not None and means is not None:
        _put_back(means, ema.weights)
    for (what, name), tensor in moments.items():
        slot = optimizer.state[by_name[name]]
        slot[what] = tensor.to(by_name[name].device)
    put_back(randoms[0])
    if scaler is not None and about.get("scaler"):
        scaler.load_state_dict(about["scaler"])
    return loop


def read_random_states(folder: Path) -> list[RandomStates]:
    """The random states of all processes in a checkpoint that was just loaded."""
    from safetensors.torch import load_file

    about = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return from_files(load_file(folder / _RANDOM), about)


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
        require_whole(folder, [file])
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


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def weights_and_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Trained parameters and all buffers, tied ones once, by name."""
    buffers = {name: tensor.detach() for name, tensor in model.named_buffers()}
    return {**trained_weights(model), **buffers}


def moments_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's state as `exp_avg:NAME`, `exp_avg_sq:NAME`, `step:NAME`."""
    return {
        f"{what}:{name}": tensor
        for name, parameter in _trained(model)
        for what, tensor in optimizer.state.get(parameter, {}).items()
    }
