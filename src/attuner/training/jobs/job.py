"""What a run, a check and a measurement of cost ask of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attuner.training.events import DataPrepared, Listener
from attuner.training.folder import RunFolder
from attuner.training.hooks import TaskHooks
from attuner.training.processes import Processes
from attuner.training.scorer import Judge

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.data.features import Features, Ints
    from attuner.recipe import Recipe
    from attuner.tasks.task import Task


@dataclass(frozen=True, slots=True)
class InTraining:
    """A model in a run, and what is around it.

    Attributes:
        model: As it is trained, wrapped.
        raw_model: The bare one.
        task: Its task.
        hooks: The task's, in the bare model.
        device: Where it is.
        computing: Makes the block that a forward runs in: the precision of the matrix products.
        processes: Who trains and scores it.
    """

    model: nn.Module
    raw_model: nn.Module
    task: Task
    hooks: TaskHooks
    device: torch.device
    computing: Callable[[], AbstractContextManager[None]]
    processes: Processes


class Job(Protocol):
    """The part of a run that depends on the task; its methods are called in this order.

    Attributes:
        unit: What the size of an update counts, in words.
    """

    unit: str

    def __init__(self, recipe: Recipe, emit: Listener) -> None: ...

    def find_model(self, vocabulary_folder: Path | None = None) -> None:
        """Find the checkpoint and its tokens, before any data are read.

        Args:
            vocabulary_folder: Of a resumed run: the folder with what it has learned of the data.
        """
        ...

    @property
    def model_name(self) -> str:
        """The model as the recipe names it."""
        ...

    @property
    def model_folder(self) -> Path | None:
        """Where its weights lie; None for random ones."""
        ...

    def read(self) -> DataPrepared:
        """Read and divide the data."""
        ...

    def learn_vocabulary(self, folder: Path) -> None:
        """Learn the tokens from the data, where the recipe wants that, and write them there."""
        ...

    def encode(self) -> None:
        """Turn the data into token ids."""
        ...

    @property
    def features(self) -> Features:
        """What is learned from."""
        ...

    def all_features(self) -> Mapping[str, Features]:
        """What is learned from, as `train`, and what is scored, by part."""
        ...

    def addresses(self, rows: Ints) -> list[str]:
        """Where the examples behind rows of `features` come from, each once: `a.po:42`."""
        ...

    @property
    def parts(self) -> Sequence[str]:
        """The parts that are scored: `validation`, `test`, as far as there are such."""
        ...

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Numbers of examples, by what became of them."""
        ...

    def load_model(self) -> nn.Module:
        """The checkpoint in fp32, told all that it must know of the task."""
        ...

    def check_model(self, model: nn.Module) -> None:
        """Look whether the checkpoint is sound, and stop where the recipe says so."""
        ...

    def choose_trained(self, model: nn.Module) -> list[str]:
        """Put the recipe's adapter on, or freeze parts; returns lines that say what is trained."""
        ...

    def build_task(self, model: nn.Module) -> Task:
        """Collate and loss."""
        ...

    def build_judge(self, trained: InTraining, folder: RunFolder) -> Judge:
        """What scores it; it may keep tables and pictures in the run folder."""
        ...

    def predictions_file(self, folder: RunFolder) -> Path:
        """The run's file of predictions."""
        ...

    def write_model(self, model: nn.Module, folder: Path) -> None:
        """Write the model folder that is delivered."""
        ...

    def usage(self, folder: Path) -> Mapping[str, str]:
        """How the delivered folder is used: what to type, by where."""
        ...

    def seconds_of_scoring(self, model: nn.Module, task: Task) -> float:
        """Seconds to score an example, measured on a few; the bare model has no hooks."""
        ...

    def check(self, **options: Any) -> Any:
        """What `attuner check` finds out; options as `training.check.check` takes them."""
        ...
