"""A run's numbers for trackers: TensorBoard, trackio, Weights & Biases, through accelerate.

Each tracker is told on a thread of its own. Whatever it waits for or breaks on, the run does not
feel: what goes wrong is said once, and at the end the run waits a few seconds for it at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from attuner.errors import first_line
from attuner.training.events import (
    Evaluated,
    Event,
    Listener,
    Noted,
    Planned,
    Saved,
    Stepped,
)
from attuner.training.folder import RunFolder
from attuner.training.processes import ALONE, Processes
from attuner.training.trackers import (
    LONGEST_WAIT_SECONDS,
    NAMES,
    STARTS,
    WHERE,
    import_trackers,
    require_trackers,
)

if TYPE_CHECKING:
    from attuner.recipe import Recipe

Values = dict[str, float]


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
    import_trackers(trackers)

    def say(text: str) -> None:
        for listener in listeners:
            listener(Noted(text))

    tracking = Tracking(
        {name: partial(STARTS[name], recipe, folder) for name in trackers},
        say,
        {name: WHERE[name](recipe, folder) for name in trackers},
    )
    try:
        yield [*listeners, tracking]
    finally:
        tracking.close()


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
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self._tellers = [_Teller(NAMES[name], start) for name, start in starts.items()]
        self._numbers = Numbers()
        self._say = say
        self._where = {NAMES[name]: text for name, text in where.items()}
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
