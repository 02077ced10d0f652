"""What a training loop is made of, each piece usable alone with plain torch or accelerate.

    from attuner import blocks

    data = blocks.split_pairs(blocks.read_pairs("strings.po", source="en", target="fr"))
    task = blocks.load_translation("embedded:en-fr", source="en", target="fr")
    train = task.encode(data.train).features
    plan = blocks.plan_batches(task, train, batch_tokens=2048)
    optimizer = blocks.build_optimizer(task.model, learning_rate=3e-4)
    with task.training():
        for step, update in zip(range(plan.num_updates(epochs=3)), plan):
            for rows in update.micro_batches:
                task.loss(task.model, task.collate(train, rows)).backward()
            optimizer.clip(1.0, scale=1 / update.num_target_tokens)
            optimizer.step()
            optimizer.zero_grad()
    print(task.evaluate(data.test).scores)

A run of `attuner train` is made of the same pieces. Shapes: B batch, S source tokens, T target
tokens, N tokens of a packed row, C classes. Importing the package executes nothing: each name is
loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attuner.lazy_names import lazy_names

if TYPE_CHECKING:
    from attuner.blocks.classification import Classification as Classification
    from attuner.blocks.classification import load_classification as load_classification
    from attuner.blocks.data import labelled_from as labelled_from
    from attuner.blocks.data import pairs_from as pairs_from
    from attuner.blocks.data import read_labelled as read_labelled
    from attuner.blocks.data import read_pairs as read_pairs
    from attuner.blocks.data import split_labelled as split_labelled
    from attuner.blocks.data import split_pairs as split_pairs
    from attuner.blocks.task import plan_batches as plan_batches
    from attuner.blocks.translation import Translation as Translation
    from attuner.blocks.translation import load_translation as load_translation
    from attuner.data.batching import BatchPlan as BatchPlan
    from attuner.data.batching import Update as Update
    from attuner.inference.sharing import shared as shared
    from attuner.models.precision import has_fast_bf16 as has_fast_bf16
    from attuner.training.adamw import AdamW as AdamW
    from attuner.training.gradient_sum import sum_gradients as sum_gradients
    from attuner.training.launch import joined as joined
    from attuner.training.loop import LoopState as LoopState
    from attuner.training.optimizer import build_optimizer as build_optimizer
    from attuner.training.optimizer import learning_rate_at as learning_rate_at
    from attuner.training.optimizer import set_learning_rate as set_learning_rate
    from attuner.training.processes import ALONE as ALONE
    from attuner.training.processes import Processes as Processes
    from attuner.training.scorer import Scored as Scored
    from attuner.training.setup import set_seeds as set_seeds
    from attuner.training.store import CheckpointStore as CheckpointStore

_WHERE = {
    "ALONE": "attuner.training.processes",
    "AdamW": "attuner.training.adamw",
    "BatchPlan": "attuner.data.batching",
    "CheckpointStore": "attuner.training.store",
    "Classification": "attuner.blocks.classification",
    "LoopState": "attuner.training.loop",
    "Processes": "attuner.training.processes",
    "Scored": "attuner.training.scorer",
    "Translation": "attuner.blocks.translation",
    "Update": "attuner.data.batching",
    "build_optimizer": "attuner.training.optimizer",
    "has_fast_bf16": "attuner.models.precision",
    "joined": "attuner.training.launch",
    "labelled_from": "attuner.blocks.data",
    "learning_rate_at": "attuner.training.optimizer",
    "load_classification": "attuner.blocks.classification",
    "load_translation": "attuner.blocks.translation",
    "pairs_from": "attuner.blocks.data",
    "plan_batches": "attuner.blocks.task",
    "read_labelled": "attuner.blocks.data",
    "read_pairs": "attuner.blocks.data",
    "set_learning_rate": "attuner.training.optimizer",
    "set_seeds": "attuner.training.setup",
    "shared": "attuner.inference.sharing",
    "split_labelled": "attuner.blocks.data",
    "split_pairs": "attuner.blocks.data",
    "sum_gradients": "attuner.training.gradient_sum",
}

__all__ = sorted(_WHERE)
__getattr__ = lazy_names(__name__, _WHERE)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
