"""The gradient of one update, whatever it is cut into and even where memory runs out amid it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from attuner.data.batching import Update
from attuner.training.gradient_sum import sum_gradients
from attuner.training.sharded_adamw import ShardedAdamW

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import Tensor

    from attuner.data.features import Ints
    from attuner.tasks.task import Batch
    from attuner.training.adamw import AdamW
    from attuner.training.processes import Processes

# How allocators say that there is no memory: torch's own for processors, CUDA's, Apple's.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True, slots=True)
class Gradient:
    """What is known of a gradient that the optimizer now holds.

    Attributes:
        loss_sum: Loss summed over the update's targets, in nats, over all processes.
        norm: Its norm, before clipping.
        num_splits: How often a micro-batch was cut in two because memory ran out, likewise.
    """

    loss_sum: float
    norm: float
    num_splits: int


class OutOfMemoryError(RuntimeError):
    """Memory ran out on a micro-batch that cannot be cut further: of one row, or of shares.

    Attributes:
        rows: Its rows of the features.
    """

    def __init__(self, rows: Ints) -> None:
        super().__init__(f"memory ran out on rows {rows.tolist()}")
        self.rows = rows


def leave_gradient(
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
    update: Update,
    *,
    collate: Callable[[Ints], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    max_grad_norm: float,
    processes: Processes,
) -> Gradient:
    """Leave an update's clipped gradient with the optimizer.

    The gradient is that of the mean over the update's real target tokens, whatever it was cut into.
    So a micro-batch that does not fit into memory is cut in two, and the gradient is made anew from
    its first micro-batch on: what is left of a backward pass that was broken off is of no use.
    Processes exchange nothing before all of that is done: each may cut as it must. Where they
    gather a sharded model's layers together, none may.

    Raises:
        OutOfMemoryError: A single row does not fit, or a micro-batch of a sharded model.
    """
    weights: AdamW | ShardedAdamW = optimizer.optimizer
    scale = 1 / update.num_target_tokens
    pieces = list(update.micro_batches)
    while True:
        done: list[Tensor] = []
        try:
            _backward(model, weights, accelerator, update, pieces, collate, loss, scale, done)
            break
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside of the except block, where nothing holds on to the tensors of the failed pass.
        failed = len(done)
        rows = pieces[failed]
        if len(rows) < 2 or isinstance(weights, ShardedAdamW):
            raise OutOfMemoryError(rows if len(rows) else update.rows[:1])
        pieces[failed : failed + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        weights.zero_grad()
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
    loss_sum, num_splits = sum_gradients(
        weights,
        (float(torch.stack(done).sum()), len(pieces) - len(update.micro_batches)),
        processes,
    )
    limit = max_grad_norm or float("inf")
    if accelerator.scaler is None:
        norm = weights.clip(limit, scale=scale)
    else:  # which has scaled the gradient, and scales it back first
        norm = float(accelerator.clip_grad_norm_(model.parameters(), limit))
    return Gradient(loss_sum, norm, int(num_splits))


def _backward(
    model: nn.Module,
    weights: AdamW | ShardedAdamW,
    accelerator: Accelerator,
    update: Update,
    pieces: list[Ints],
    collate: Callable[[Ints], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    scale: float,
    done: list[Tensor],
) -> None:
    """Forward and backward of each micro-batch; the summed loss of each goes into `done`."""
    with weights.computing():
        for rows in pieces:
            is_empty = len(rows) == 0
            batch = collate(update.rows[:1] if is_empty else rows)
            with accelerator.autocast():
                summed = loss(model, batch) * (0.0 if is_empty else 1.0)
            # With fp16 the scaler wants numbers of a moderate size; else the optimizer scales.
            accelerator.backward(summed * scale if accelerator.scaler else summed)
            weights.collect()
            done.append(summed.detach())


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it was memory that ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _MEMORY_WORDS)
