"""Start the process that pushes, look after it, end it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attuner.errors import HubError
from attuner.publishing.outbox import Outbox

_LOOK_EVERY_SECONDS = 0.1
_ENDING_SECONDS = 10
_LOWEST_PRIORITY = 19


class Sender:
    """The process of an outbox; one at a time.

    Args:
        outbox: What it pushes.
        is_background: It gives way to all else, and waits for the turn of another one.
    """

    def __init__(self, outbox: Outbox, *, is_background: bool) -> None:
        self.outbox = outbox
        self._is_background = is_background
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it pushes just now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin to push, unless that is under way: it then goes on with what is new by itself."""
        if self.is_running:
            return
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "attuner.publishing.worker", str(self.outbox.path)]
        self.outbox.note(error=None)
        with self.outbox.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *(["--background"] if self._is_background else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,  # Ctrl-C is for the run
            )  # fmt: skip
        if self._is_background:
            _let_give_way(self._process.pid)

    def ended(self) -> bool:
        """Whether it has ended since this was asked last.

        Raises:
            HubError: It has ended without having pushed.
        """
        process = self._process
        if process is None or (code := process.poll()) is None:
            return False
        self._process = None
        error = self.outbox.record.error
        if code == 0:
            return True
        if error is not None:
            raise HubError(*error)
        said = self.outbox.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "nothing")
        raise HubError(
            f"The process that pushes ended by itself (exit code {code}). It said last: {last}",
            "What is not pushed is kept, and no half of it is on the Hub.",
            f"All that it said is in {self.outbox.log}.",
        )

    def wait(self, seconds: float, tell: Callable[[int, int], None]) -> bool:
        """Wait for its end; returns whether it came in time.

        Args:
            seconds: How long at most.
            tell: Is told now and then of bytes that have gone, and of all.

        Raises:
            HubError: It has ended without having pushed.
        """
        end = time.monotonic() + seconds
        while self._process is not None:
            if self.ended():
                break
            if time.monotonic() > end:
                return False
            tell(*self.outbox.progress)
            time.sleep(_LOOK_EVERY_SECONDS)
        return True

    def stop(self) -> None:
        """End it; nothing of what it was about to push is on the Hub then, or all of it."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _let_give_way(process: int) -> None:
    """Let a process, which leads a session, have what others leave of the processor.

    Linux may share the processor out among sessions first (`autogroup`): the priority of a process
    then counts only within its own.
    """
    with suppress(OSError):  # it has ended already
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, process, _LOWEST_PRIORITY)
    with suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(_LOWEST_PRIORITY), encoding="ascii")
