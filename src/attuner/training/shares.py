"""A sharded model as all but the loop knows it: a plain copy, on the main process.

Training computes with shares. What is saved, scored and delivered is whole, and the main process
alone has it: the others take part where shares are gathered or handed out, and wait elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from attuner.models.sharding import filled, gathered, scatter
from attuner.training.adamw import AdamW
from attuner.training.checkpoint import moments_of, weights_and_buffers
from attuner.training.events import Event
from attuner.training.scorer import Judge, Scored

if TYPE_CHECKING:
    from torch import Tensor, nn

    from attuner.training.processes import Processes

Value = TypeVar("Value")


class Shares:
    """The shares of a model and of its optimizer, and a plain copy of both on the main process.

    All processes call each method at once.

    Args:
        outline: What the model was before it was sharded; see `models.sharding.outline`.
        model: The sharded model.
        optimizer: Its bare optimizer.
        processes: Who has the shares.

    Attributes:
        model: The copy, in the processor's memory; on other processes it has no weights.
        optimizer: One of the copy that makes no steps: it has moments while a checkpoint is
            written or read.
    """

    def __init__(
        self,
        outline: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
    ) -> None:
        self._sharded = model
        self._sharded_optimizer = optimizer
        self._processes = processes
        weights = gathered(dict(model.named_parameters()))
        self.model = filled(outline, weights).cpu() if processes.is_main else outline
        self.optimizer = AdamW([{"params": list(_trained(self.model))}], learning_rate=0.0)

    def gather(self) -> None:
        """Let the copy have the weights of just now."""
        copies = weights_and_buffers(self.model)
        for name, tensor in weights_and_buffers(self._sharded).items():
            for whole in gathered({name: tensor}).values():
                copies[name].copy_(whole)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Let the copy have the weights of just now, and inside the block the moments, too."""
        self.gather()
        moments = gathered(moments_of(self._sharded, self._sharded_optimizer))
        parameters = dict(self.model.named_parameters())
        for key, tensor in moments.items():
            what, name = key.split(":", 1)
            self.optimizer.state[parameters[name]][what] = tensor
        try:
            yield
        finally:
            self.optimizer.state.clear()

    def scatter(self) -> None:
        """Let the shares be what the copy and its moments are; the moments are then let go."""
        scatter(weights_and_buffers(self.model), weights_and_buffers(self._sharded))
        moments = moments_of(self.model, self.optimizer)
        parameters = dict(self._sharded.named_parameters())
        self._sharded_optimizer.state.clear()
        for key in self._processes.once(lambda: list(moments)):
            what, name = key.split(":", 1)
            self._sharded_optimizer.state[parameters[name]][what] = _room(what, parameters[name])
        scatter(moments, moments_of(self._sharded, self._sharded_optimizer))
        self.optimizer.state.clear()


class MainJudge:
    """A `Judge` of a model that the main process alone has; the others wait for what it says.

    Args:
        judge: Judges it, there.
        model: The plain copy.
        device: Where it computes; between scores it is in the processor's memory.
        processes: All.
    """

    def __init__(
        self, judge: Judge, model: nn.Module, device: torch.device, processes: Processes
    ) -> None:
        self._judge = judge
        self._model = model
        self._device = device
        self._processes = processes

    def score(self, part: str, *, in_full: bool) -> Scored:
        """Score a part with the weights of just now."""
        return self._once(lambda: self._judge.score(part, in_full=in_full))

    def settle(self) -> None:
        """Choose on validation what is delivered beside the weights."""
        self._once(self._judge.settle)

    def rows(
        self, part: str, before: Sequence[Any], after: Sequence[Any] | None
    ) -> Iterable[Mapping[str, Any]]:
        """The lines of a part's file of predictions."""
        return self._judge.rows(part, before, after)

    def compared(self, part: str, before: Sequence[Any], after: Sequence[Any]) -> Iterable[Event]:
        """What tuning changed."""
        return self._judge.compared(part, before, after)

    def _once(self, do: Callable[[], Value]) -> Value:
        def placed() -> Value:
            self._model.to(self._device)
            try:
                return do()
            finally:
                self._model.cpu()

        return self._processes.once(placed)


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def _room(what: str, parameter: Tensor) -> Tensor:
    """Where a moment of a sharded weight goes, sharded alike; its number of steps is whole."""
    if what == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device)
    return torch.zeros_like(parameter)
