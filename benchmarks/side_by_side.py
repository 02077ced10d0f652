"""Compare arms that do the same work: a process each, in turn on the same machine.

A benchmark starts itself once for each arm (`--worker ARM`), one after the other. A worker sets
up, warms up and then works only when it is told to, so that one arm computes at a time and the
others block while they read. Rounds are interleaved, and the order turns from round to round:
whatever slows the machine for a while slows all arms alike, and ratios are taken within a round.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

Figures = dict[str, Any]

# What makes a processor fast at matrix products, as /proc/cpuinfo names it.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_LIBRARIES = ("torch", "transformers", "accelerate", "ctranslate2", "sentencepiece", "sacrebleu")


class Channel:
    """A worker's line to its parent. Whatever libraries print to stdout goes to stderr."""

    def __init__(self) -> None:
        self._replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def reply(self, **figures: Any) -> None:
        """Send the figures of the set-up (the first reply) or of a round."""
        self._replies.write(json.dumps(figures) + "\n")
        self._replies.flush()

    def go(self) -> bool:
        """Wait until the parent says what to do: True is one more round, False is the end."""
        return sys.stdin.readline().strip() == "go"


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: As given to `--worker` and printed.
        env: Environment variables that this arm alone has, such as LD_PRELOAD.
        arguments: Further arguments of its worker.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


class Worker:
    """The parent's end of an arm's process."""

    def __init__(self, arm: Arm, script: Path, arguments: Sequence[str], log: IO[str]) -> None:
        self.arm = arm
        self._log = log
        command = [sys.executable, str(script), "--worker", arm.name, *arguments, *arm.arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**os.environ, **arm.env},
        )
        self.setup = self._answer()

    def round(self) -> Figures:
        """Let the arm work once; the figures it replies."""
        self._tell("go")
        return self._answer()

    def stop(self) -> None:
        """End the process; kindly where it waits, by a signal where it does not."""
        try:
            self._tell("stop")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
        self._process.wait()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Figures:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            figures: Figures = json.loads(line)
            return figures
        self._process.kill()
        self._log.seek(0)
        raise SystemExit(f"{self.arm.name} stopped:\n{self._log.read()[-4000:]}")


@contextmanager
def started(arm: Arm, script: str, arguments: Sequence[str]) -> Iterator[Worker]:
    """A worker that is set up and waits; ended when the block is left."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        worker = Worker(arm, Path(script), arguments, log)
        try:
            yield worker
        finally:
            worker.stop()


def interleave(
    arms: Sequence[Arm], script: str, arguments: Sequence[str], *, rounds: int
) -> tuple[dict[str, Figures], dict[str, list[Figures]]]:
    """Set all arms up, then let them work in turn.

    Args:
        arms: The sides.
        script: The benchmark's own file.
        arguments: What each worker is given besides its name.
        rounds: How often each works.

    Returns:
        The figures of the set-up, and those of each round, by arm.
    """
    found: dict[str, list[Figures]] = {arm.name: [] for arm in arms}
    with ExitStack() as stack:
        workers = []
        for arm in arms:
            note(f"setting up {arm.name}")
            workers.append(stack.enter_context(started(arm, script, arguments)))
        for number in range(rounds):
            turn = number % len(workers)
            for worker in workers[turn:] + workers[:turn]:
                note(f"round {number + 1} of {rounds}: {worker.arm.name}")
                found[worker.arm.name].append(worker.round())
        return {worker.arm.name: worker.setup for worker in workers}, found


def note(text: str) -> None:
    """Say on stderr what is going on."""
    print(f"... {text}", file=sys.stderr, flush=True)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, lowest and highest.

    >>> spread([1.0, 3.0, 2.0])
    '2.0 (1.0..3.0)'
    """
    median = statistics.median(values)
    return f"{median:.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def ratios(
    found: Mapping[str, Sequence[Figures]], figure: str, arm: str, baseline: str
) -> list[float]:
    """What `arm` does in relation to `baseline`, round by round."""
    return [
        ours[figure] / theirs[figure]
        for ours, theirs in zip(found[arm], found[baseline], strict=True)
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of even width.

    >>> print(table(["a", "b"], [["long", "1"]]))
    | a    | b |
    | ---- | - |
    | long | 1 |
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def ratio_table(
    found: Mapping[str, Sequence[Figures]],
    figure: str,
    *,
    unit: str,
    baselines: Sequence[str],
    digits: int = 1,
) -> str:
    """A figure of each arm, and its ratio to each baseline: median (lowest..highest)."""
    known = [name for name in baselines if name in found]
    rows = [
        [
            name,
            spread([figures[figure] for figures in rounds], digits),
            *(spread(ratios(found, figure, name, baseline), 2) for baseline in known),
        ]
        for name, rounds in found.items()
    ]
    return table(["arm", unit, *(f"× {name}" for name in known)], rows)


def describe_machine() -> str:
    """The processor, its cores and what it computes with, and the versions of the libraries."""
    fields: dict[str, str] = {}
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    has = set(fields.get("flags", "").split())
    flags = ", ".join(flag for flag in _FLAGS if flag in has) or "flags unknown"
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = "family {cpu family} model {model}".format_map({**_UNKNOWN, **fields})
    versions = ", ".join(f"{name} {version}" for name, version in _versions())
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return (
        f"Processor: {name} ({numbers}), {os.cpu_count()} cores: {flags}\n"
        f"Python {platform.python_version()}, {versions}; OMP_NUM_THREADS {threads}"
    )


_UNKNOWN = {"cpu family": "?", "model": "?"}


def _versions() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def find_allocator() -> str | None:
    """The shared library of tcmalloc, else of jemalloc, where the machine has one."""
    for name in ("libtcmalloc_minimal.so*", "libtcmalloc.so*", "libjemalloc.so*"):
        for folder in ("usr/lib", "usr/lib/*-linux-gnu", "usr/lib64", "usr/local/lib"):
            for path in sorted(Path("/").glob(f"{folder}/{name}")):
                return str(path)
    return None
