"""Gradients of updates that processes share; as a command it writes those of several processes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from tiny import tiny_features, tiny_model, with_adapters

from attuner.data.batching import BatchPlan
from attuner.tasks.translation import TranslationTask
from attuner.training.gradient import leave_gradient
from attuner.training.launch import joined
from attuner.training.optimizer import build_optimizer
from attuner.training.processes import Processes
from attuner.training.setup import prepare

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """An update.

    Attributes:
        examples: How many it has.
        family: Of the model.
        accumulation: Micro-batches of a process.
        has_adapters: Whether LoRA is trained, and not the model.
        is_short: Whether the last process runs out of memory once.
        is_mixed: Whether it is computed in bf16.
    """

    examples: int = 8
    family: str = "marian"
    accumulation: int = 1
    has_adapters: bool = False
    is_short: bool = False
    is_mixed: bool = False


CASES = {
    "even": Case(12),
    "uneven": Case(7),
    "uneven micro-batches": Case(7, accumulation=2),
    "processes without an example": Case(1),
    "padded": Case(11, family="t5"),
    "padded, processes without an example": Case(1, family="t5"),
    "adapters": Case(7, has_adapters=True),
    "out of memory in one process": Case(12, is_short=True),
    "bf16 copies": Case(7, accumulation=2, is_mixed=True),
}


def gradient_of(case: Case, processes: Processes) -> dict[str, torch.Tensor]:
    """The gradient by weight, `loss`, `norm` and `splits`."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    model = tiny_model(case.family)
    if case.has_adapters:
        model = with_adapters(model)
    model.unused = torch.nn.Parameter(torch.ones(3))
    features = tiny_features(30)
    plan = BatchPlan(
        features.target.lengths, features.source.lengths, batch_examples=case.examples,
        accumulation=case.accumulation, max_padded_tokens=40 if case.family == "t5" else None,
        rank=processes.rank, num_processes=processes.count,
    )  # fmt: skip
    optimizer = build_optimizer(
        model, learning_rate=1.0, weight_decay=0.0,
        computes_in=torch.bfloat16 if case.is_mixed else None,
    )  # fmt: skip
    task = TranslationTask(model)
    wrapped, prepared = prepare(accelerator, model, optimizer)
    wrapped.train()
    collate = short_of_memory(lambda rows: task.collate(features, rows, CPU), case, processes)
    update = next(iter(plan))
    with task.prepared(model):
        found = leave_gradient(
            wrapped, prepared, accelerator, update,
            collate=collate, loss=task.loss, max_grad_norm=0.0, processes=processes,
        )  # fmt: skip
    assert optimizer.gradient(model.unused) is None
    gradients = {
        f"gradient/{name}": gradient.float() / update.num_target_tokens
        for name, parameter in model.named_parameters()
        if (gradient := optimizer.gradient(parameter)) is not None
    }
    mean = found.loss_sum / update.num_target_tokens
    numbers = {"loss": mean, "norm": found.norm, "splits": found.num_splits}
    return {**gradients, **{name: torch.tensor(float(n)) for name, n in numbers.items()}}


def short_of_memory(
    collate: Callable[[np.ndarray], Any], case: Case, processes: Processes
) -> Callable[[np.ndarray], Any]:
    """Collate, with no memory for more than two rows on the last process."""

    def collated(rows: np.ndarray) -> Any:
        if case.is_short and processes.rank == processes.count - 1 and len(rows) > 2:
            raise MemoryError
        return collate(rows)

    return collated


def main(folder: Path) -> None:
    """Write a file for each case and process."""
    with joined("cpu") as processes:
        for number, case in enumerate(CASES.values()):
            found = gradient_of(case, processes)
            assert math.isfinite(float(found["loss"]))
            tensors = {name: tensor.contiguous() for name, tensor in found.items()}
            save_file(tensors, folder / f"{number}-{processes.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
