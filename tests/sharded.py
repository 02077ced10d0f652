"""One of the processes that share sharded models: `python sharded.py RANK NUM_PROCESSES FOLDER`.

Each case is an update of a tiny model by the run's own functions. The first process writes what
came of it, gathered, into `FOLDER/CASE.pt`; each says in `FOLDER/held-RANK.json` what it held.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny import PAD, tiny_features, tiny_model
from tiny_classifiers import tiny_classifier, tiny_texts

from attuner.data.batching import BatchPlan
from attuner.models.recomputing import recompute_layers
from attuner.models.sharding import filled, gathered, num_held, outline, scatter
from attuner.tasks.classification import ClassificationTask
from attuner.tasks.translation import TranslationTask
from attuner.training.optimizer import build_optimizer, keep_pad_row_zero
from attuner.training.sharding import Sharding, prepare_sharded

RATES = {"learning_rate": 0.01, "weight_decay": 0.1}
MAX_NORM = 0.02
# AdamW's first step is the gradient over its own size: with an eps of 1e-8 that of a key's bias,
# which is zero but for rounding, would be as large as any other.
EPS = 1e-3


@dataclass(frozen=True)
class Case:
    """A model, its task and its features."""

    make: Callable[[], tuple[Any, Callable[[Any], Any], Any]]
    computes_in: torch.dtype | None = None
    accumulation: int = 1


def text(family: str, change: Callable[[Any], None] = lambda model: None) -> Any:
    model = tiny_model(family)
    with torch.no_grad():
        model.get_output_embeddings().weight[PAD] = 0
    change(model)

    def task(model: Any) -> TranslationTask:
        keep_pad_row_zero(model)
        return TranslationTask(model, label_smoothing=0.1)

    return model, task, tiny_features(24)


def with_lora(model: Any) -> None:
    from attuner.models.adapters import add_adapter

    add_adapter(model, kind="lora", rank=4, alpha=8, dropout=0.0, rslora=False, targets=None)
    for name, parameter in model.named_parameters():  # as it is after some updates
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


CASES = {
    "marian": Case(lambda: text("marian")),
    "marian in two micro-batches": Case(lambda: text("marian"), accumulation=2),
    "marian recomputed": Case(lambda: text("marian", recompute_layers)),
    "marian in bf16": Case(lambda: text("marian"), torch.bfloat16),
    "marian with an adapter": Case(lambda: text("marian", with_lora)),
    "m2m_100": Case(lambda: text("m2m_100")),
    "t5": Case(lambda: text("t5")),
    "bert": Case(
        lambda: (tiny_classifier(), lambda model: ClassificationTask(model, "single"), tiny_texts())
    ),
}


def plan_of(features: Any, case: Case, rank: int, num_processes: int) -> BatchPlan:
    lengths = features.target_lengths, features.source_lengths
    return BatchPlan(
        *lengths, batch_examples=16, accumulation=case.accumulation,
        rank=rank, num_processes=num_processes,
    )  # fmt: skip


def update(
    model: Any, optimizer: Any, accelerator: Accelerator, task: Any, features: Any, plan: BatchPlan
) -> dict[str, Any]:
    """Loss, norm and clipped gradient of the plan's first update, which is then made."""
    model.train()
    for group in optimizer.param_groups:
        group["eps"] = EPS
    work, bare = next(iter(plan)), optimizer.optimizer
    total = torch.zeros(())
    with task.prepared(model), bare.computing():
        for rows in work.micro_batches:
            loss = task.loss(model, task.collate(features, rows, torch.device("cpu")))
            accelerator.backward(loss)
            total += loss.detach()
    norm = bare.clip(MAX_NORM, scale=1 / work.num_target_tokens)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": float(accelerator.reduce(total, "sum")), "norm": norm, "grads": grads}


def unsharded(case: Case) -> dict[str, Any]:
    """What one process makes of a case without sharding."""
    model, task, features = case.make()
    task = task(model)
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare_optimizer(build_optimizer(model, **RATES))
    found = update(model, optimizer, accelerator, task, features, plan_of(features, case, 0, 1))
    scale = optimizer.optimizer._grad_scale
    grads = {name: grad * scale for name, grad in found["grads"].items()}
    optimizer.step()
    moments = {
        name: optimizer.optimizer.state[p]["exp_avg"].clone()
        for name, p in model.named_parameters()
        if p in optimizer.optimizer.state
    }
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return {**found, "grads": grads, "weights": weights, "moments": moments}


def sharded(case: Case, rank: int, num_processes: int, folder: Path, name: str) -> dict[str, int]:
    model, task, features = case.make()
    shape = outline(model)
    num_all = sum(parameter.numel() for parameter in model.parameters())
    accelerator = Accelerator(cpu=True)
    model, optimizer = prepare_sharded(
        model, accelerator, Sharding(computes_in=case.computes_in), **RATES
    )
    task = task(model)
    plan = plan_of(features, case, rank, num_processes)
    found = update(model, optimizer, accelerator, task, features, plan)
    grads = gathered(found["grads"])
    optimizer.step()
    state = optimizer.optimizer.state
    moments = gathered(
        {name: state[p]["exp_avg"] for name, p in model.named_parameters() if p in state}
    )
    weights = gathered(dict(model.named_parameters()))
    held = {
        "weights": num_held(model),
        "all": num_all,
        "moments": sum(slot["exp_avg"].to_local().numel() for slot in state.values()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    # What the first process gives comes out of the shares as it went in.
    given = {
        name: torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
        for number, (name, p) in enumerate(model.named_parameters())
    }
    scatter(given if rank == 0 else {}, dict(model.named_parameters()))
    values = gathered(dict(model.named_parameters()))
    if rank == 0:
        assert all(torch.equal(values[name], value) for name, value in given.items())
        buffers = dict(model.named_buffers())
        plain = filled(shape, weights)
        torch.save(
            {**found, "grads": grads, "weights": weights, "moments": moments,
             "dtypes": {str(p.dtype) for p in model.parameters()}, "buffers": buffers,
             "plain": {name: tensor.detach() for name, tensor in plain.state_dict().items()}},
            folder / f"{name}.pt",
        )  # fmt: skip
    return held


def main(rank: int, num_processes: int, folder: Path) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes}
    here |= {"LOCAL_WORLD_SIZE": num_processes, "MASTER_ADDR": "localhost"}  # as launchers say
    os.environ |= {key: str(value) for key, value in here.items()}
    torch.distributed.init_process_group(
        "gloo",
        store=torch.distributed.FileStore(str(folder / "store"), num_processes),
        rank=rank,
        world_size=num_processes,
    )
    held = {name: sharded(case, rank, num_processes, folder, name) for name, case in CASES.items()}
    (folder / f"held-{rank}.json").write_text(json.dumps(held))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
