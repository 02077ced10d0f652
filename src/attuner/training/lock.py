"""One process to a run: a second one that resumed it would overwrite what the first one writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from attuner.errors import RunError
from attuner.training.folder import RunFolder


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder inside the block. The system lets go of it when the process ends.

    Where the file system has no locks, or the system no `fcntl`, the block runs without.

    Raises:
        RunError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with folder.lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunError(
                f"{folder.path} is in use by process {file.read().strip() or '?'}.",
                "A run is trained by one process at a time.",
                "Wait for its end, or stop it with Ctrl-C first: it saves then.",
            ) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            folder.lock.unlink(missing_ok=True)
