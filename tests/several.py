"""Commands that are started as several processes, by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

# No test waits for longer; what hangs is killed, and fails.
SECONDS = 150


def torchrun(
    num: int,
    *words: str | Path,
    folder: Path,
    options: tuple[str, ...] = ("--standalone",),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[str]:
    """Start `python -m torch.distributed.run`; both of its outputs are one."""
    command = [
        sys.executable, "-m", "torch.distributed.run", *options,
        f"--nproc_per_node={num}", *map(str, words),
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, env={**environment(), **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """That of a process; it finds the tests' modules."""
    tests = Path(__file__).parent
    paths = [str(tests), str(tests / "training"), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def output(started: subprocess.Popen[str], *, fails: bool = False) -> str:
    """What it printed, when it has ended as it should."""
    try:
        text, _ = started.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        text, _ = started.communicate()
        raise AssertionError(f"it hangs:\n{text}") from None
    assert (started.returncode != 0) == fails, text
    return text


def process_of(started: subprocess.Popen[str], rank: int) -> int:
    """The id of one of the processes that torchrun has started on Linux."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    for child in map(int, children):
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return child
    raise AssertionError(f"no process {rank} among {children}")


def wait_until(is_so: Callable[[], bool], started: subprocess.Popen[str]) -> None:
    """Wait for something that a running command does."""
    end = time.monotonic() + SECONDS
    while not is_so():
        assert started.poll() is None, started.communicate()[0]
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
