"""The checkpoints of one run: which to keep, which to go on from, which is delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    load_weights,
    prune,
    save_checkpoint,
)
from attuner.training.events import Event, Noted
from attuner.training.loop import LoopState

if TYPE_CHECKING:
    import torch
    from torch import nn


class CheckpointStore:
    """Saves what is trained, and puts it back.

    Args:
        folder: The run's `checkpoints`.
        model: The bare model.
        optimizer: The bare optimizer.
        scaler: That of fp16, where there is one.
        keep: How many of the latest to keep; the best is always kept.
        emit: Is told of choices.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scaler: torch.amp.GradScaler | None,
        keep: int,
        emit: Callable[[Event], None],
    ) -> None:
        self._folder = folder
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._keep = keep
        self._emit = emit

    def save(self, state: LoopState) -> Path:
        """Write a checkpoint, then delete those that are no longer needed."""
        saved = save_checkpoint(
            self._folder, self._model, self._optimizer, state, scaler=self._scaler
        )
        prune(self._folder, self._keep, state.best_step)
        return saved

    @property
    def last(self) -> Path | None:
        """The latest checkpoint."""
        return next(reversed(checkpoints(self._folder)), None)

    def load_last(self) -> LoopState:
        """Go on from the latest checkpoint that is whole; damaged ones are named.

        Raises:
            RunError: None is.
        """
        faults: list[str] = []
        for path in reversed(checkpoints(self._folder)):
            try:
                state = load_checkpoint(path, self._model, self._optimizer, scaler=self._scaler)
            except RunError as error:
                faults.append(error.happened)
                continue
            for fault in faults:
                self._emit(Noted(f"{fault}: it is passed over."))
            self._emit(Noted(f"Going on from {path}."))
            self._forget_lost_best(state)
            return state
        run_folder = self._folder.parent
        raise RunError(
            "\n".join(f"{fault}." for fault in faults),
            "Resuming needs one checkpoint whose files are whole.",
            "Start it anew: delete the folder and type: "
            f"attuner train {run_folder / 'recipe.yaml'}",
        )

    def load_best(self, state: LoopState) -> None:
        """Put the best weights into the model, where they are not the last."""
        if state.best_step is None or state.best_step == state.step:
            return
        try:
            load_weights(self._of(state.best_step), self._model)
        except RunError as error:
            self._emit(Noted(f"{error.happened}: the last weights are delivered, not the best."))
            return
        self._emit(Noted(f"Delivered are the best weights, those after step {state.best_step}."))

    def _forget_lost_best(self, state: LoopState) -> None:
        """An older checkpoint may hold a best that a later best had replaced."""
        if state.best_step is not None and not self._of(state.best_step).is_dir():
            self._emit(
                Noted(
                    f"The best weights so far, those after step {state.best_step}, are gone: "
                    "the best is looked for from here on."
                )
            )
            state.best = state.best_step = None

    def _of(self, step: int) -> Path:
        return self._folder / f"step-{step:06d}"
