"""A run that is asked to stop, by Ctrl-C or SIGTERM, and leaves in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from attuner.errors import StoppedError
from attuner.training.launch import announced

if TYPE_CHECKING:
    from attuner.training.folder import RunFolder
    from attuner.training.loop import LoopState
    from attuner.training.processes import Processes
    from attuner.training.store import CheckpointStore

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StopRequests:
    """What signals ask for: noted at first while the loop runs, obeyed at once else."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._is_deferred = False
        self._is_said = False

    @property
    def is_asked(self) -> bool:
        """Whether the run is to stop."""
        return self._signal is not None

    def is_agreed(self, processes: Processes) -> bool:
        """Whether any process of the run is to stop; then all are. Called by all at once."""
        number = processes.largest(self._signal or 0)
        self._signal = self._signal or number or None
        return self.is_asked

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal."""
        return 128 + (self._signal or signal.SIGINT)

    @property
    def name(self) -> str:
        """What asked, in words."""
        return _NAMES[signal.Signals(self._signal or signal.SIGINT)]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a first request is only noted."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def unsaid(self) -> str:
        """What the user should read of a request that has just come; "" else."""
        if self._signal is None or self._is_said:
            return ""
        self._is_said = True
        return (
            f"{self.name}: the run stops after this update, or this evaluation, and saves first. "
            "Ctrl-C again to leave at once."
        )

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal."""
        if self._signal is None:
            self._signal = number
            if self._is_deferred:
                return
        elif number == signal.SIGTERM:  # a scheduler may send it again while the run is saved
            return
        raise KeyboardInterrupt


@contextmanager
def stop_requests(folder: RunFolder) -> Iterator[StopRequests]:
    """Answer Ctrl-C and SIGTERM inside the block; what ends it says how to go on with the run.

    In a thread, and where a signal is ignored (`nohup`), nothing is changed.

    Raises:
        StoppedError: The run was interrupted.
    """
    requests = StopRequests()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _NAMES:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, requests.receive)
    try:
        yield requests
    except StoppedError:
        raise
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"Interrupted by {requests.name}.\n{_how_to_go_on(folder)}", requests.exit_code
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def save_and_leave(
    requests: StopRequests, store: CheckpointStore, state: LoopState, folder: RunFolder
) -> None:
    """Save where the loop stands, unless that was just done, and leave.

    Raises:
        StoppedError: Always.
    """
    if state.step and not store.has(state.step):
        store.save(state, is_stop=True)  # on all processes at once: none leaves before it is done
    raise StoppedError(
        f"Stopped by {requests.name} after step {state.step:,}.\n{_how_to_go_on(folder)}",
        requests.exit_code,
    )


def _how_to_go_on(folder: RunFolder) -> str:
    if folder.has_checkpoint:
        as_before = ", started as several processes again" if announced() > 1 else ""
        return f"Go on with: attuner train --resume {folder.path}{as_before}"
    return "No checkpoint was written yet: start the run again."
