"""Feed generated and mutated files to the readers: see `python -m fuzz --help`.

Each input is made from its reader's name, the seed and its number alone. The readers run in a
process of their own, so that a crash or a hang of a foreign parser is a fault like any other.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz.feeding import Tally, feed
from fuzz.probe import input_of
from fuzz.samples import SAMPLES


def main() -> int:
    """The command line; 1 where an input was answered wrongly."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--reader", nargs="+", default=list(SAMPLES), choices=list(SAMPLES))
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--faults", type=Path, default=Path("fuzz-faults"), help="where they are kept"
    )
    args = parser.parse_args()
    cells = "| {:<10} | {:>8} | {:>8} | {:>8} | {:>9} | {:>6} | {:>9} | {:>7} |"
    heads = ("reader", "inputs", "accepted", "refused", "skipped", "faults", "slowest/s", "total/s")
    print(cells.format(*heads))
    print(cells.format(*["-" * len(head) for head in heads]))
    num_faults = 0
    for name in args.reader:
        begin = time.perf_counter()
        tally = feed(name, args.inputs, args.seed)
        verdicts, seconds = tally.verdicts, time.perf_counter() - begin
        row = (verdicts.total(), verdicts["accepted"], verdicts["refused"], tally.skipped)
        print(cells.format(name, *row, len(tally.faults), f"{tally.slowest:.2f}", f"{seconds:.0f}"))
        sys.stdout.flush()
        num_faults += len(tally.faults)
        _keep(tally, name, args.seed, args.faults)
    return 1 if num_faults else 0


def _keep(tally: Tally, name: str, seed: int, folder: Path) -> None:
    """Write the faulty inputs, and say what each did."""
    sample = SAMPLES[name]()
    for index, fault in tally.faults:
        place = folder / str(index)
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(input_of(name, sample, seed, index))
        print(f"  {place / name}: {fault}")


if __name__ == "__main__":
    sys.exit(main())
