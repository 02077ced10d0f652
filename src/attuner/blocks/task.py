"""What the tasks of own loops have in common: their model, and when their hooks are in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import UsageError
from attuner.training.folder import new_folder
from attuner.training.hooks import TaskHooks
from attuner.training.plans import plan_updates
from attuner.training.processes import ALONE, Processes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.data.batching import BatchPlan
    from attuner.data.features import Features
    from attuner.tasks.task import Task


class OwnModel:
    """A task's model; mixed into a task.

    Attributes:
        model: The bare model, fp32, as transformers has it.
    """

    model: nn.Module
    _hooks: TaskHooks | None = None

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let the model take this task's batches and compute their loss, in training mode.

        Inside the block the task's hooks are in the model: rows are packed without padding where
        the family allows, and logits are computed for real targets only. On leaving, the model is
        as it was.
        """
        was_training = self.model.training
        task: Any = self
        self._hooks = TaskHooks(task, self.model)
        try:
            with self._hooks:
                self.model.train()
                yield
        finally:
            self._hooks = None
            self.model.train(was_training)

    def _hooked(self) -> AbstractContextManager[Any]:
        """The model with the task's hooks."""
        task: Any = self
        return nullcontext() if self._hooks else TaskHooks(task, self.model)

    def _bare(self) -> AbstractContextManager[Any]:
        """The model without them."""
        return self._hooks.taken_out() if self._hooks else nullcontext()

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def plan_batches(
    task: Task,
    features: Features,
    *,
    batch_tokens: int | None = None,
    batch_examples: int | None = None,
    accumulation: int = 1,
    seed: int = 42,
    processes: Processes = ALONE,
) -> BatchPlan:
    """The order of updates, packed or padded as the task can; each process has its share of each.

    Args:
        task: Says whether its batches are packed; padded ones are cut at 2048 positions.
        features: What is learned from.
        batch_tokens: Real target tokens of one update, over all processes; of labelled texts their
            own tokens. 2048 where `batch_examples` is not given either.
        batch_examples: Instead of that: examples of one update, over all processes.
        accumulation: Micro-batches that a process's share is cut into; the result is the same.
        seed: Seed of the order.
        processes: Who shares the updates.

    Returns:
        A plan that gives updates without end; `num_updates(epochs)` says how many to take.

    >>> import attuner.blocks as blocks
    >>> task = blocks.load_translation("embedded:en-fr")
    >>> rows = [("Open the file", "Ouvrir le fichier"), ("Save", "Enregistrer")] * 3
    >>> data = blocks.split_pairs(
    ...     blocks.pairs_from(rows, source="en", target="fr"), duplicates="keep",
    ...     validation_size=0, test_size=0,
    ... )
    >>> plan = plan_batches(task, task.encode(data.train).features, batch_examples=4)
    >>> plan.num_updates(epochs=2)
    4
    >>> update = next(iter(plan))
    >>> len(update.rows), [len(rows) for rows in update.micro_batches], update.epoch
    (4, [4], 0.5)
    """
    return plan_updates(
        features,
        is_cut=not task.is_packed,
        batch_tokens=batch_tokens,
        batch_examples=batch_examples,
        accumulation=accumulation,
        seed=seed,
        processes=processes,
    )


def model_folder(folder: Path | str) -> AbstractContextManager[Path]:
    """A temporary folder that takes the place of `folder`, a model's, when the block ends well.

    Raises:
        UsageError: There is something else than a model.
    """
    place = Path(folder)
    if place.exists() and not (place / "config.json").is_file():
        raise UsageError(
            f"{place} is there, and holds no model.",
            "A model is saved to a new folder, or in place of another model.",
            "Name another folder, or delete this one.",
        )
    return new_folder(place)
