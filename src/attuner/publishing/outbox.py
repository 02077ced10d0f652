"""What is to be pushed, and what was: a folder that the run writes and another process empties.

RUN/hub/
record.json     which repository is ours, what was pushed last, what went wrong last
next/           the latest state of the run; a later one takes its place
current/        the one that is being pushed; what a push that failed has left
progress.json   how much of it has gone
log.txt         what huggingface_hub said

A state is complete in itself: the run deletes old checkpoints while they are still being pushed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attuner.errors import HubError
from attuner.training.folder import new_folder, write_text

_ORDER = "order.json"


@dataclass(frozen=True, slots=True)
class Order:
    """How a state is to be pushed.

    Attributes:
        hub_id: The repository; a bare name is one of the user's own.
        private: Whether a new one can be seen by its owners alone.
        message: That of the commit.
        again: What to type to try again.
        elsewhere: What to type for another repository.
        tag: A git tag for the commit.
        with_checkpoints: Whether what the run can be resumed from is pushed, too.
        force: Write into a repository although it holds something else.
        model: The model folder, where it is not in the state itself.
        step: The update after which the state is.
        is_complete: Whether it is the run's result.
    """

    hub_id: str
    private: bool
    message: str
    again: str
    elsewhere: str
    tag: str | None = None
    with_checkpoints: bool = True
    force: bool = False
    model: str = ""
    step: int = 0
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What became of the pushes.

    Attributes:
        hub_id: The full id of the repository that is ours; "" before it was found or made.
        url: The last commit.
        message: Its message.
        step: The update after which the state in it is.
        is_complete: Whether it holds the run's result.
        notes: What the user should know.
        error: What went wrong last: what happened, what was expected, what to do.
    """

    hub_id: str = ""
    url: str = ""
    message: str = ""
    step: int = 0
    is_complete: bool = False
    notes: tuple[str, ...] = ()
    error: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The folder."""

    path: Path

    @property
    def log(self) -> Path:
        """What huggingface_hub said."""
        return self.path / "log.txt"

    @property
    def is_pending(self) -> bool:
        """Whether there is something that is not pushed."""
        return any((self.path / name / _ORDER).is_file() for name in ("next", "current"))

    def put(self, order: Order, fill: Callable[[Path], None]) -> None:
        """Have a state pushed, instead of any that waits.

        Args:
            order: How.
            fill: Writes the state into a folder.
        """
        with new_folder(self.path / "new") as partial:
            fill(partial)
            (partial / _ORDER).write_text(json.dumps(asdict(order)), encoding="utf-8")
        with suppress(FileNotFoundError):  # the other process may just have taken it
            (self.path / "next").rename(self.path / "old")
        shutil.rmtree(self.path / "old", ignore_errors=True)
        (self.path / "new").rename(self.path / "next")

    def take(self) -> tuple[Path, Order] | None:
        """The state to push: the latest one, or what a push that failed has left."""
        current = self.path / "current"
        if (self.path / "next" / _ORDER).is_file():
            shutil.rmtree(current, ignore_errors=True)
            (self.path / "next").rename(current)
        try:
            text = (current / _ORDER).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return current, Order(**json.loads(text))

    def revise(self, **changes: Any) -> None:
        """Change how the state that waits is to be pushed."""
        taken = self.take()
        if taken is not None:
            place, order = taken
            write_text(place / _ORDER, json.dumps(asdict(replace(order, **changes))))

    @property
    def record(self) -> Record:
        """What became of the pushes so far."""
        try:
            found = json.loads((self.path / "record.json").read_text(encoding="utf-8"))
            error = found.pop("error")
            notes = tuple(found.pop("notes"))
            return Record(**found, notes=notes, error=tuple(error) if error else None)
        except (OSError, ValueError, TypeError, KeyError):
            return Record()

    def note(self, **changes: Any) -> None:
        """Change the record."""
        self.path.mkdir(parents=True, exist_ok=True)
        changed = replace(self.record, **changes)
        write_text(self.path / "record.json", json.dumps(asdict(changed), indent=2))

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes read for the upload, and all of them; zeros where that is not known."""
        try:
            done, total = json.loads((self.path / "progress.json").read_text(encoding="utf-8"))
            return int(done), int(total)
        except (OSError, ValueError):
            return 0, 0

    def note_progress(self, done: int, total: int) -> None:
        """Say how much has gone."""
        write_text(self.path / "progress.json", json.dumps([done, total]))

    @contextmanager
    def turn(self, *, waits: bool) -> Iterator[None]:
        """Be the only process that pushes inside the block; the system ends it with the process.

        Args:
            waits: Wait for another one.

        Raises:
            HubError: Another process pushes.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                raise HubError(
                    f"{self.path.parent} is being pushed by process {file.read().strip() or '?'}.",
                    "One push is made at a time.",
                    "Wait for its end.",
                ) from None
            except OSError:  # no locks on this file system
                pass
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
