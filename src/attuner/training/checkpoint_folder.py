"""Folders of checkpoints: written so that none is ever half, and looked at before they are used.

Below a run's `checkpoints`:

    step-000120             a checkpoint that was due
    step-000123-stopped     one that was saved because the run was asked to stop; it goes when a
                            later one is there, and counts neither among those that are kept nor
                            in a mean of weights: so a run that was stopped ends as one that was not
    .step-000150.partial    one that is being written, or what a killed run has left of it
    .old-step-000090        one that is being deleted
    damaged-step-000120     one that turned out damaged, until the next is written

Folders of other names, such as a copy that somebody made, are let alone. `files.json` in a
checkpoint has the SHA-256 of all its other files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attuner.models.fingerprint import file_sha256

DIGESTS, STATE = "files.json", "state.json"
_STOPPED = "-stopped"
_NAME = re.compile(rf"step-\d+({_STOPPED})?")


def checkpoint_name(step: int, *, is_stop: bool = False) -> str:
    """The name of the checkpoint after an update.

    >>> checkpoint_name(120), checkpoint_name(123, is_stop=True)
    ('step-000120', 'step-000123-stopped')
    """
    return f"step-{step:06d}{_STOPPED if is_stop else ''}"


def step_of(checkpoint: Path) -> int:
    """The number of updates before a checkpoint."""
    return int(checkpoint.name.split("-")[1])


def checkpoints(folder: Path, *, with_stopped: bool = True) -> list[Path]:
    """Complete checkpoints of a run's `checkpoints`, oldest first.

    Args:
        folder: The run's `checkpoints`.
        with_stopped: Also those that were saved because the run was asked to stop.
    """
    found = [path for path in _named(folder) if (path / STATE).is_file()]
    if not with_stopped:
        found = [path for path in found if not path.name.endswith(_STOPPED)]
    return sorted(found, key=lambda path: (step_of(path), path.name))


def half_written(folder: Path) -> list[Path]:
    """What killed runs and broken-off copies have left: folders that are no whole checkpoints."""
    found = [path for path in _named(folder) if not (path / STATE).is_file()]
    return sorted([*found, *folder.glob(".step-*.partial")])


def _named(folder: Path) -> list[Path]:
    """What has the name of a checkpoint."""
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Delete the checkpoints that are no longer needed beside the latest.

    Args:
        folder: The run's `checkpoints`.
        keep: How many of the latest are kept.
        best_step: That of the best, which is kept, too.
    """
    due, every = checkpoints(folder, with_stopped=False), checkpoints(folder)
    kept = {*due[-keep:], every[-1]}
    if best_step is not None:
        kept.add(folder / checkpoint_name(best_step))
    for path in every:
        if path not in kept:  # renamed first: a kill amid the deletion must not leave half of it
            path.rename(path.with_name(f".old-{path.name}"))
    for path in folder.glob(".old-*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_remains(folder: Path) -> None:
    """Delete what is half written or damaged, now that a new checkpoint is there."""
    for path in (*half_written(folder), *folder.glob("damaged-step-*")):
        shutil.rmtree(path, ignore_errors=True)


def set_aside(checkpoint: Path) -> None:
    """Let a damaged checkpoint no longer count as one."""
    aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


@contextmanager
def written_whole(checkpoint: Path) -> Iterator[Path]:
    """A temporary folder that becomes the checkpoint when the block ends well, synced to the disk.

    Raises:
        OSError: It cannot be written; nothing of it is left then.
    """
    partial = checkpoint.with_name(f".{checkpoint.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        seal(partial)
        for file in partial.iterdir():
            sync(file)
        sync(partial)
        shutil.rmtree(checkpoint, ignore_errors=True)
        partial.rename(checkpoint)
        sync(checkpoint.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def seal(checkpoint: Path) -> None:
    """Write down the SHA-256 of the files in a checkpoint."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != DIGESTS)
    digests = {path.name: file_sha256(path) for path in files}
    (checkpoint / DIGESTS).write_text(json.dumps(digests, indent=2), encoding="utf-8")


def require_whole(checkpoint: Path, names: Iterable[str] | None = None) -> None:
    """Look whether files of a checkpoint are as they were written.

    Args:
        checkpoint: Its folder.
        names: Which files; None for all.

    Raises:
        OSError: One cannot be read.
        ValueError: One is missing, or has other contents.
    """
    digests = json.loads((checkpoint / DIGESTS).read_text(encoding="utf-8"))
    for name in digests if names is None else names:
        if not (checkpoint / name).is_file():
            raise ValueError(f"{name} is missing")
        if file_sha256(checkpoint / name) != digests.get(name):
            raise ValueError(f"{name} has not the contents that were written")


def sync(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
