"""What a run says when its disk is full or cannot be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attuner.errors import RunError
from attuner.training.folder import RunFolder

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNWRITABLE = frozenset(
    {errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.ENOTDIR}
)


@contextmanager
def disk_faults(folder: RunFolder) -> Iterator[None]:
    """Turn what the disk refuses inside the block into words.

    Raises:
        RunError: The disk is full, or a file of the run cannot be written.
    """
    try:
        yield
    except Exception as error:
        fault = _fault(error, folder)
        if fault is None:
            raise
        raise fault from error


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to start where the run would fill the disk.

    Raises:
        RunError: Less is free than the run needs.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RunError(
            f"{folder}: {size(free)} are free, the run needs about {size(needed_bytes)}.",
            "A checkpoint takes three times the model in fp32; the latest ones and the best are "
            "kept.",
            "Make room, keep fewer (training.keep_checkpoints=1), or choose another place "
            "(output.folder=...).",
        )


def refused(error: BaseException, place: Path) -> str:
    """What the disk refused below a folder, in words; "" where it is not to blame."""
    number, name = _number(error), getattr(error, "filename", None)
    is_ours = name is not None and _lies_in(name, place)
    if number in _FULL:
        return "the disk is full"
    return os.strerror(number) if number in _UNWRITABLE and is_ours and number else ""


def size(num_bytes: int) -> str:
    """A number of bytes in words.

    >>> size(1_000), size(34_000_000), size(2_500_000_000)
    ('0.001 MB', '34 MB', '2.5 GB')
    """
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.3g} MB" if num_bytes < 1e8 else f"{num_bytes / 1e6:.0f} MB"


def _fault(error: Exception, folder: RunFolder) -> RunError | None:
    """The error in words; None where the disk is not to blame."""
    number, name = _number(error), getattr(error, "filename", None)
    is_ours = name is None or _lies_in(name, folder.path)
    if number in _FULL:
        happened = f"{folder.path if name and is_ours else name or _fullest(folder)}: {{}}."
    elif number in _UNWRITABLE and is_ours and (name or number == errno.EFBIG):
        happened = f"{folder.path} cannot be written: {{}}."
    else:
        return None
    can_resume = folder.has_checkpoint
    return RunError(
        happened.format("the disk is full" if number in _FULL else os.strerror(number or 0)),
        "A run writes its checkpoints, scores and model while it goes.",
        f"Mend that, then go on with: attuner train --resume {folder.path}"
        if can_resume
        else "Mend that, then start the run again: no checkpoint was written yet.",
    )


def _lies_in(name: str | bytes, place: Path) -> bool:
    """Whether an error names a file below a place; `tempfile` gives the path in full."""
    return place.absolute() in Path(os.fsdecode(name)).absolute().parents


def _number(error: BaseException) -> int | None:
    """The system's number of an error; safetensors has it in its text only."""
    from safetensors import SafetensorError

    if isinstance(error, SafetensorError):
        found = re.search(r"os error (\d+)", str(error))
        return int(found.group(1)) if found else None
    return error.errno if isinstance(error, OSError) else None


def _fullest(folder: RunFolder) -> Path:
    """Where less is free: in the run folder, or where engines are converted for scoring."""
    places = (folder.path, Path(tempfile.gettempdir()))
    return min(places, key=lambda place: shutil.disk_usage(place).free)
