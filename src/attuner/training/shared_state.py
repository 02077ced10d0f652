"""What the main process has read or learned, on all processes: they need not see its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attuner.training.checkpoint import moments_of, weights_and_buffers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.training.averaging import Ema
    from attuner.training.processes import Processes


def share_model(processes: Processes, model: nn.Module) -> None:
    """Give all processes the weights and buffers of the main process, frozen ones included."""
    processes.require_same(
        "The weights' names and shapes",
        [(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()],
    )
    processes.share(parameter.detach() for parameter in model.parameters())
    processes.share(buffer.detach() for buffer in model.buffers())


def share_files(processes: Processes, folder: Path) -> None:
    """Write a folder's files, as far as the main process has such a folder, on the others.

    Args:
        processes: The processes.
        folder: Where this process has it, or is to have it.
    """
    files = processes.once(lambda: {path.name: path.read_bytes() for path in folder.glob("*")})
    if files and not processes.is_main:
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)


def share_training_state(
    processes: Processes,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    ema: Ema | None,
) -> None:
    """Give all processes what the main process has put back of a checkpoint."""
    if processes.count == 1:
        return
    processes.share(weights_and_buffers(model).values())
    if ema is not None:
        processes.share(ema.weights.values())
    _make_moments(processes, model, optimizer)
    processes.share(moments_of(model, optimizer).values())
    if scaler is not None:
        scaler.load_state_dict(processes.once(scaler.state_dict))


def _make_moments(processes: Processes, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Make room for the moments that the main process has."""
    shapes = processes.once(
        lambda: {
            key: (tensor.shape, tensor.dtype)
            for key, tensor in moments_of(model, optimizer).items()
        }
    )
    parameters = dict(model.named_parameters())
    for key, (shape, dtype) in shapes.items():
        what, name = key.split(":", 1)
        slot = optimizer.state[parameters[name]]
        if what not in slot:
            slot[what] = parameters[name].new_zeros(shape, dtype=dtype)
