"""The checkpoints of one run: which to keep, which to go on from, which is delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.training.averaging import Ema, put_in
from attuner.training.checkpoint import (
    EMA,
    MODEL,
    checkpoints,
    load_checkpoint,
    prune,
    read_weights,
    save_checkpoint,
)
from attuner.training.events import Event, Noted
from attuner.training.loop import LoopState

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class CheckpointStore:
    """Saves what is trained, and puts it back.

    Args:
        folder: The run's `checkpoints`.
        model: The bare model.
        optimizer: The bare optimizer.
        scaler: That of fp16, where there is one.
        ema: The running mean of the weights, where there is one.
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
        ema: Ema | None = None,
        keep: int,
        emit: Callable[[Event], None],
    ) -> None:
        self._folder = folder
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._ema = ema
        self._keep = keep
        self._emit = emit

    def save(self, state: LoopState) -> Path:
        """Write a checkpoint, then delete those that are no longer needed."""
        saved = save_checkpoint(
            self._folder, self._model, self._optimizer, state, scaler=self._scaler, ema=self._ema
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
                state = load_checkpoint(
                    path, self._model, self._optimizer, scaler=self._scaler, ema=self._ema
                )
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
        """Put what is delivered into the model: the best weights, or the last where none are.

        With a running mean, it is the mean that was the best.
        """
        best = None
        if state.best_step is not None and state.best_step != state.step:
            file = MODEL if self._ema is None else EMA
            try:
                best = read_weights(self._of(state.best_step), self._model, file=file)
            except RunError as error:
                fault = f"{error.happened}: the last weights are delivered, not the best."
                self._emit(Noted(fault))
        if best is not None:
            put_in(best, self._model)
            chosen = f"Delivered are the best weights, those after step {state.best_step}."
            self._emit(Noted(chosen))
        elif self._ema is not None:
            put_in(self._ema.weights, self._model)

    def mean_of_last(self, num: int) -> tuple[dict[str, Tensor], list[int]]:
        """The mean of the last checkpoints' trained weights, and the steps that they are of.

        Damaged checkpoints are named and left out.
        """
        total: dict[str, Tensor] = {}
        steps: list[int] = []
        for path in checkpoints(self._folder)[-num:]:
            try:
                weights = read_weights(path, self._model)
            except RunError as error:
                self._emit(Noted(f"{error.happened}: it is left out of the mean."))
                continue
            steps.append(int(path.name.removeprefix("step-")))
            total = {name: w + total.get(name, 0.0) for name, w in weights.items()}
        return {name: tensor / len(steps) for name, tensor in total.items()}, steps

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
