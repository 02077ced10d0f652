"""A run's numbers for trackers: TensorBoard, trackio, Weights & Biases, through accelerate.

Each tracker is told on a thread of its own. Whatever it waits for or breaks on, the run does not
feel: what goes wrong is said once, and at the end the run waits a few seconds for it at most.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from attuner.errors import MissingExtraError, first_line
from attuner.recipe_faults import show
from attuner.training.changes import leaves
from attuner.training.events import (
    Evaluated,
    Event,
    Listener,
    Noted,
    Planned,
    Saved,
    Stepped,
)
from attuner.training.folder import RunFolder, write_text
from attuner.training.processes import ALONE, Processes

if TYPE_CHECKING:
    from attuner.recipe import Recipe

Values = dict[str, float]

_PROJECT = "attuner"
_LONGEST_WAIT_SECONDS = 15.0
_NAMES = {"tensorboard": "TensorBoard", "trackio": "trackio", "wandb": "Weights & Biases"}
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}


@contextmanager
def tracked(
    recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener], processes: Processes = ALONE
) -> Iterator[Sequence[Listener]]:
    """The listeners, inside the block with one more that tells the recipe's trackers.

    Of several processes only the main one tells; of several seeds each run tells for itself.

    Raises:
        MissingExtraError: A tracker is not installed.
    """
    trackers = recipe.output.trackers
    require_trackers(trackers)
    if not trackers or recipe.training.seeds > 1 or not processes.is_main:
        yield listeners
        return
    _import(trackers)

    def say(text: str) -> None:
        for listener in listeners:
            listener(Noted(text))

    tracking = Tracking(
        {name: partial(_STARTS[name], recipe, folder) for name in trackers},
        say,
        {name: _WHERE[name](recipe, folder) for name in trackers},
    )
    try:
        yield [*listeners, tracking]
    finally:
        tracking.close()


def require_trackers(names: Sequence[str]) -> None:
    """See that trackers are installed.

    Raises:
        MissingExtraError: One is not.
    """
    for name in names:
        try:
            version(name)  # not find_spec: a folder `wandb` would pass for the package
        except PackageNotFoundError as error:
            raise MissingExtraError(_NAMES[name], name) from error


def _import(names: Sequence[str]) -> None:
    """Import trackers before a thread does, while nobody draws from Python's `random`.

    trackio draws from it when it is imported. What is wrong with one is said when it starts.
    """
    drawn = random.getstate()
    for name in names:
        with suppress(Exception):
            import_module(_PACKAGES[name])
    random.setstate(drawn)


class Tracking:
    """A listener that tells trackers.

    Args:
        starts: By a tracker's name: makes it, for a run that goes on after so many steps.
        say: Is given lines that the user should read.
        where: By a tracker's name: how its user sees what it was told.
        longest_wait_seconds: For all of them together, at the end.
    """

    def __init__(
        self,
        starts: Mapping[str, Callable[[int], Any]],
        say: Callable[[str], None],
        where: Mapping[str, str],
        *,
        longest_wait_seconds: float = _LONGEST_WAIT_SECONDS,
    ) -> None:
        self._tellers = [_Teller(_NAMES[name], start) for name, start in starts.items()]
        self._numbers = Numbers()
        self._say = say
        self._where = {_NAMES[name]: text for name, text in where.items()}
        self._longest_wait_seconds = longest_wait_seconds

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        found = self._numbers.of(event)
        for teller in self._tellers:
            # accelerate has its state by then, which its trackers ask for.
            if isinstance(event, Planned) and not teller.has_begun:
                teller.begin(event.first_step)
                self._say(f"{teller.name}: {self._where[teller.name]}")
            if found is not None:
                teller.tell(*found)
        self._say_faults()

    def close(self) -> None:
        """Let the trackers finish, within limits."""
        until = time.monotonic() + self._longest_wait_seconds
        for teller in self._tellers:
            teller.end()
        for teller in self._tellers:
            if not teller.wait(until - time.monotonic()):
                self._say(
                    f"{teller.name} has not taken everything within "
                    f"{self._longest_wait_seconds:g} seconds: the run ends without it."
                )
        self._say_faults()

    def _say_faults(self) -> None:
        for teller in self._tellers:
            if fault := teller.unsaid():
                self._say(f"{teller.name}: {fault} The run goes on without what it misses.")


class _Teller:
    """One tracker and the thread that tells it."""

    def __init__(self, name: str, start: Callable[[int], Any]) -> None:
        self.name = name
        self._start = start
        self._queue: SimpleQueue[tuple[Values, int] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._fault = ""
        self._is_said = False

    @property
    def has_begun(self) -> bool:
        """Whether its thread was started."""
        return self._thread is not None

    def begin(self, first_step: int) -> None:
        """Start the tracker; what it was told before is waiting for it."""
        self._thread = threading.Thread(target=self._work, args=(first_step,), daemon=True)
        self._thread.start()

    def tell(self, values: Values, step: int) -> None:
        """Leave numbers for the tracker."""
        self._queue.put((values, step))

    def end(self) -> None:
        """Say that there is no more."""
        self._queue.put(None)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        if self._thread is None:
            return True
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def unsaid(self) -> str:
        """The first fault, once."""
        if not self._fault or self._is_said:
            return ""
        self._is_said = True
        return self._fault

    def _work(self, first_step: int) -> None:
        tracker = None
        with self._noting():
            tracker = self._start(first_step)
        while (told := self._queue.get()) is not None:
            if tracker is not None:
                with self._noting():
                    tracker.log(*told)
        if tracker is not None:
            with self._noting():
                tracker.finish()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fault = self._fault or f"{type(error).__name__}: {first_line(error)}."


class Numbers:
    """What trackers are told of events: values by their names, at which step."""

    def __init__(self) -> None:
        self._last: Stepped | None = None

    def of(self, event: Event) -> tuple[Values, int] | None:
        """The numbers of one event; None where it has none."""
        match event:
            case Stepped():
                values = {
                    "train/loss": event.loss,
                    "train/learning_rate": event.learning_rate,
                    "train/grad_norm": event.grad_norm,
                    "train/epoch": event.epoch,
                    **self._speed(event),
                }
                self._last = event
                return values, event.step
            case Evaluated():
                self._last = None
                part = _part(event)
                values = {f"{part}/{name}": value for name, value in event.scores.items()}
                if event.when == "before" or event.train_loss is None:
                    return values, event.step
                return {**values, "train/mean_loss": event.train_loss}, event.step
            case Saved():
                self._last = None
        return None

    def _speed(self, event: Stepped) -> Values:
        """Of an update that nothing came between: evaluations and checkpoints take time, too."""
        if self._last is None or event.seconds <= self._last.seconds:
            return {}
        seconds = event.seconds - self._last.seconds
        return {
            "train/examples_per_second": event.num_examples / seconds,
            "train/tokens_per_second": event.num_target_tokens / seconds,
        }


def _part(event: Evaluated) -> str:
    """What scores are of: those of the choice at the end are no point of a curve."""
    if event.when == "mean":
        return "mean_of_checkpoints"
    return "delivered" if (event.when, event.split) == ("after", "validation") else event.split


def _options(recipe: Recipe) -> dict[str, str | float]:
    """The recipe as trackers take it: flat, texts and numbers."""
    found = leaves(recipe.model_dump(mode="json"))
    return {
        name: value if isinstance(value, int | float | str) else show(value)
        for name, value in found
        if value is not None
    }


def _id_of(folder: RunFolder) -> str:
    """Under which name trackers know a run; a new one where it has none."""
    if not folder.tracking_id.is_file():
        write_text(folder.tracking_id, uuid.uuid4().hex[:8])
    return folder.tracking_id.read_text(encoding="utf-8").strip()


def _project(tracker: str) -> str:
    return os.environ.get(f"{tracker.upper()}_PROJECT") or _PROJECT


def _start_tensorboard(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import TensorBoardTracker
    from torch.utils.tensorboard.summary import hparams

    # What a killed run has told after its last checkpoint is told again.
    purged = first_step + 1 if first_step else None
    tracker = TensorBoardTracker(folder.tensorboard.name, folder.path, purge_step=purged)
    tracker.start()
    if not first_step:
        # accelerate would write the options as a run of their own, named after the second.
        main = f"{'test' if _has_test(recipe) else 'validation'}/{recipe.best_metric}"
        for summary in hparams(_options(recipe), {main: None}):  # type: ignore[no-untyped-call]
            tracker.writer.file_writer.add_summary(summary)
    return tracker


def _has_test(recipe: Recipe) -> bool:
    return recipe.data.test is not None or recipe.data.split.test > 0


def _start_trackio(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import TrackioTracker

    tracker = TrackioTracker(
        _project("trackio"),
        name=f"{_run_name(recipe)}-{_id_of(folder)}",
        resume="allow",
        config=_options(recipe),
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    tracker.start()
    return tracker


def _start_wandb(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import WandBTracker

    folder.wandb.mkdir(exist_ok=True)
    tracker = WandBTracker(
        _project("wandb"),
        name=_run_name(recipe),
        id=_id_of(folder),
        resume="allow",
        config=_options(recipe),
        dir=str(folder.path),
        mode=_wandb_mode(),
        settings={"silent": True, "console": "off", "init_timeout": _LONGEST_WAIT_SECONDS},
    )
    tracker.start()
    return tracker


def _wandb_mode() -> str:
    """Offline, whoever is logged in: data leave the machine where its user says so."""
    return os.environ.get("WANDB_MODE") or "offline"


def _run_name(recipe: Recipe) -> str:
    """The run's name; that of a seed's run with the name of the run that it belongs to."""
    name, parent = recipe.output.name, os.path.basename(recipe.output.folder)
    return f"{parent}-{name}" if name == f"seed-{recipe.training.seed}" else name


def _where_is_wandb(recipe: Recipe, folder: RunFolder) -> str:
    if _wandb_mode() != "offline":
        return f"WANDB_MODE={_wandb_mode()}, as the environment says."
    return f"kept in {folder.wandb}, to be sent with: wandb sync {folder.wandb}/offline-run-*"


_STARTS: Mapping[str, Callable[[Recipe, RunFolder, int], Any]] = {
    "tensorboard": _start_tensorboard,
    "trackio": _start_trackio,
    "wandb": _start_wandb,
}
_WHERE: Mapping[str, Callable[[Recipe, RunFolder], str]] = {
    "tensorboard": lambda recipe, folder: f"tensorboard --logdir {folder.path.parent}",
    "trackio": lambda recipe, folder: f"trackio show --project {_project('trackio')}",
    "wandb": _where_is_wandb,
}
