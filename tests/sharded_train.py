"""`attuner train` with a sharded model, on processors: `python sharded_train.py WORD ...`.

accelerate enables FSDP on accelerators alone. Here it is told, when it has found its device, that
this is one; all else is the run's own. What each process holds goes into `held-RANK.json` where it
is started; with SHORT_OF_MEMORY, process 1 has no memory for its second micro-batch.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from attuner.cli import main as attuner
from attuner.models.sharding import num_held
from attuner.tasks.translation import TranslationTask
from attuner.training import running, setup, sharding

RANK = os.environ.get("RANK", "0")


def as_on_accelerators() -> None:
    """Let accelerate enable FSDP on processors."""
    sharding.computes_on_processor = lambda device: False
    inner = setup.build_device

    def build_device(*args: Any, **options: Any) -> setup.Device:
        device = inner(*args, **options)
        state = device.accelerator.state
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin()
        return device

    setup.build_device = build_device


def tell_what_is_held() -> None:
    """Write down how many numbers of the model this process holds when training begins."""
    inner = running.train_loop

    def train_loop(model: Any, *args: Any, **options: Any) -> Any:
        held = {"held": num_held(model), "all": sum(p.numel() for p in model.parameters())}
        Path(f"held-{RANK}.json").write_text(json.dumps(held))
        return inner(model, *args, **options)

    running.train_loop = train_loop


def run_short_of_memory() -> None:
    """Let memory run out on the second micro-batch of process 1."""
    inner, calls = TranslationTask.loss, itertools.count(1)

    def loss(self: TranslationTask, model: Any, batch: Any) -> Any:
        if model.training and next(calls) == 2 and RANK == "1":
            raise MemoryError
        return inner(self, model, batch)

    TranslationTask.loss = loss  # type: ignore[method-assign]


if __name__ == "__main__":
    as_on_accelerators()
    tell_what_is_held()
    if "SHORT_OF_MEMORY" in os.environ:
        run_short_of_memory()
    sys.argv = ["attuner", "train", *sys.argv[1:]]
    attuner()
