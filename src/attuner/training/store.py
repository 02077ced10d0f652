"""The checkpoints of one run: which to keep, which to go on from, which is delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attuner.errors import RunError
from attuner.training.averaging import Ema, put_in, trained_weights
from attuner.training.checkpoint import (
    EMA,
    MODEL,
    load_checkpoint,
    read_random_states,
    read_weights,
    save_checkpoint,
)
from attuner.training.checkpoint_folder import (
    checkpoint_name,
    checkpoints,
    half_written,
    prune,
    remove_remains,
    set_aside,
    step_of,
)
from attuner.training.events import Event, Noted
from attuner.training.folder import RunFolder
from attuner.training.loop import DivergedError, LoopState
from attuner.training.processes import ALONE, Processes
from attuner.training.random_states import RandomStates, put_back, random_states
from attuner.training.shared_state import share_training_state

if TYPE_CHECKING:
    from torch import Tensor, nn

    from attuner.training.shares import Shares


def diverged_in(folder: RunFolder, last: Path | None, error: DivergedError) -> RunError:
    """The error of a run that diverged: which checkpoint is the last good one, how to go on."""
    if last is None:
        return RunError(error.happened, f"{error.expected} No checkpoint was saved.", error.remedy)
    return RunError(
        error.happened,
        f"{error.expected} The last good checkpoint is {last}; all examples of the update are in "
        f"{folder.metrics}.",
        f"{error.remedy.removesuffix('.')}, or go on without such updates: attuner train --resume "
        f"{folder.path} training.on_bad_loss=skip",
    )


class CheckpointStore:
    """Saves what is trained, and puts it back.

    Of several processes the main one writes and reads; all call each method at once.

    Args:
        folder: The run's `checkpoints`.
        model: The bare model; of a sharded one, the plain copy.
        optimizer: The bare optimizer; likewise.
        scaler: That of fp16, where there is one.
        ema: The running mean of the weights, where there is one.
        keep: How many of the latest to keep; the best is always kept.
        manifest: The run's manifest, where there is one: each checkpoint has a copy.
        emit: Is told of choices.
        processes: Who trains.
        shares: Those of a sharded model.

    >>> from tempfile import TemporaryDirectory
    >>> from attuner.training.optimizer import build_optimizer
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = build_optimizer(model, learning_rate=0.1)
    >>> with TemporaryDirectory() as folder:
    ...     store = CheckpointStore(folder, model, optimizer)
    ...     state = store.go_on()  # from the beginning: there is none yet
    ...     state.step += 1
    ...     saved = store.save(state)
    ...     saved.name, store.go_on().step
    ('step-000001', 1)
    """

    def __init__(
        self,
        folder: Path | str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scaler: torch.amp.GradScaler | None = None,
        ema: Ema | None = None,
        keep: int = 3,
        manifest: Path | None = None,
        emit: Callable[[Event], None] = lambda event: None,
        processes: Processes = ALONE,
        shares: Shares | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._ema = ema
        self._keep = keep
        self._manifest = manifest
        self._emit = emit
        self._processes = processes
        self._shares = shares

    def save(self, state: LoopState, *, is_stop: bool = False) -> Path:
        """Write a checkpoint, then delete those that are no longer needed.

        Args:
            state: Where the loop stands.
            is_stop: No checkpoint is due, but the run was asked to stop.
        """
        randoms = self._processes.gathered(random_states())
        with self._shares.gathered() if self._shares else nullcontext():
            return self._processes.once(lambda: self._save(state, randoms, is_stop))

    def _save(self, state: LoopState, randoms: Sequence[RandomStates], is_stop: bool) -> Path:
        saved = save_checkpoint(
            self._folder,
            self._model,
            self._optimizer,
            state,
            scaler=self._scaler,
            ema=self._ema,
            manifest=self._manifest,
            is_stop=is_stop,
            randoms=randoms,
        )
        prune(self._folder, self._keep, state.best_step)
        remove_remains(self._folder)
        return saved

    @property
    def last(self) -> Path | None:
        """The latest checkpoint."""
        return next(reversed(checkpoints(self._folder)), None)

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of this step."""
        return self._processes.once(
            lambda: any(step_of(path) == step for path in checkpoints(self._folder))
        )

    def go_on(self) -> LoopState:
        """Go on from the latest checkpoint that is whole; from the beginning where there is none.

        Raises:
            RunError: There are checkpoints, and none is whole.
        """
        return self.load_last() if self._processes.once(lambda: bool(self.last)) else LoopState()

    def load_last(self) -> LoopState:
        """Go on from the latest checkpoint that is whole; others are named and set aside.

        Raises:
            RunError: None is.
        """
        state, randoms = self._processes.once(self._load_last)
        if self._shares:
            self._shares.scatter()
        else:
            share_training_state(
                self._processes, self._model, self._optimizer, self._scaler, self._ema
            )
        rank = self._processes.rank
        if 0 < rank < len(randoms):
            put_back(randoms[rank])
        return state

    def _load_last(self) -> tuple[LoopState, Sequence[RandomStates]]:
        for path in half_written(self._folder):
            self._emit(Noted(f"{path} is half written: it is passed over."))
        faults: dict[Path, str] = {}
        for path in reversed(checkpoints(self._folder)):
            try:
                state = load_checkpoint(
                    path, self._model, self._optimizer, scaler=self._scaler, ema=self._ema
                )
            except RunError as error:
                faults[path] = error.happened
                continue
            for damaged, fault in faults.items():
                self._emit(Noted(f"{fault}: it is passed over."))
                set_aside(damaged)
            self._emit(Noted(f"Going on from {path}."))
            self._forget_lost_best(state)
            prune(self._folder, self._keep, state.best_step)  # a killed run may have had no time to
            return state, read_random_states(path)
        run_folder = self._folder.parent
        raise RunError(
            "\n".join(f"{fault}." for fault in faults.values()),
            "Resuming needs one checkpoint whose files are whole.",
            "Start it anew: delete the folder and type: "
            f"attuner train {run_folder / 'recipe.yaml'}",
        )

    def load_best(self, state: LoopState) -> None:
        """Put what is delivered into the model: the best weights, or the last where none are.

        With a running mean, it is the mean that was the best. Of a sharded model only the plain
        copy has them.
        """
        if self._shares:
            self._shares.gather()
        self._processes.once(lambda: self._load_best(state))
        if not self._shares:
            self._processes.share(trained_weights(self._model).values())

    def _load_best(self, state: LoopState) -> None:
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
        mean = {name: torch.zeros_like(w) for name, w in trained_weights(self._model).items()}
        steps = self._processes.once(lambda: self._put_mean_of_last(num, mean))
        self._processes.share(mean.values())
        return mean, steps

    def _put_mean_of_last(self, num: int, mean: Mapping[str, Tensor]) -> list[int]:
        total: dict[str, Tensor] = {}
        steps: list[int] = []
        for path in checkpoints(self._folder, with_stopped=False)[-num:]:
            try:
                weights = read_weights(path, self._model)
            except RunError as error:
                self._emit(Noted(f"{error.happened}: it is left out of the mean."))
                continue
            steps.append(step_of(path))
            total = {name: w + total.get(name, 0.0) for name, w in weights.items()}
        if steps:
            for name, tensor in mean.items():
                tensor.copy_(total[name] / len(steps))
        return steps

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
        return self._folder / checkpoint_name(step)
