"""Feed the inputs of one reader to it, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.probe import LIMIT_SECONDS, Outcome, input_of, probe
from fuzz.samples import SAMPLES

# A parser in C does not listen to the alarm of `probe`.
_HANG_SECONDS = 10 * LIMIT_SECONDS


@dataclass
class Tally:
    """What became of the inputs of one reader."""

    verdicts: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    slowest: float = 0.0
    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, index: int, outcome: Outcome) -> None:
        """Count the outcome of one input."""
        self.verdicts[outcome.verdict] += 1
        self.skipped += outcome.skipped
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.fault:
            self.faults.append((index, outcome.fault))


def feed(name: str, inputs: int, seed: int) -> Tally:
    """Feed so many inputs to the reader of files that are called like `name`."""
    tally, index = Tally(), 0
    context = multiprocessing.get_context("spawn")
    while index < inputs:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, name, index, inputs, seed))
        worker.start()
        theirs.close()
        try:
            while index < inputs:
                if not ours.poll(_HANG_SECONDS):
                    raise EOFError
                tally.add(index, ours.recv())
                index += 1
        except EOFError:
            worker.kill()
            worker.join()
            tally.add(index, Outcome("fault", fault=f"the process died or hung: {worker.exitcode}"))
            index += 1
        worker.join()
    return tally


def _work(pipe: Connection, name: str, start: int, stop: int, seed: int) -> None:
    sample = SAMPLES[name]()
    with TemporaryDirectory() as folder:
        for index in range(start, stop):
            content = input_of(name, sample, seed, index)
            pipe.send(probe(Path(folder) / name, content, seed=seed, index=index))
