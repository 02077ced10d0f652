"""A task's hooks in models, which can be taken out for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch import nn

    from attuner.tasks.task import Task


class TaskHooks:
    """Keeps a task's hooks in models inside a `with` block.

    Args:
        task: The task.
        models: The bare model; of a sharded one its plain copy, too.
    """

    def __init__(self, task: Task, *models: nn.Module) -> None:
        self._task = task
        self._models = models
        self._hooks = ExitStack()

    def __enter__(self) -> Self:
        self._put_in()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.close()

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """The models without them, as whoever loads one sees it."""
        self._hooks.close()
        try:
            yield
        finally:
            self._put_in()

    def _put_in(self) -> None:
        for model in self._models:
            self._hooks.enter_context(self._task.prepared(model))
