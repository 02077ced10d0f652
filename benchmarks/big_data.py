"""Memory of a run by the number of pairs: read, divide, tokenise, a few updates.

    python benchmarks/big_data.py [--pairs 500000 5000000] [--data FILE] [--source en --target fr]

The user's pairs are repeated, each time with another number at their ends so that none is a
duplicate, and written as gzipped JSON Lines. Then `attuner.train` tunes the embedded model on them
for a few updates, in a fresh process with an empty cache for each size. What counts is the highest
resident size until each stage is over (VmHWM, mapped files included) above that of a process that
has come as far with the first thousand pairs: libraries, model and optimizer. Linux only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from memory import resident
from side_by_side import Arm, Channel, Figures, describe_machine, note, started
from subject import DATA, read_examples

MODEL = "embedded:en-fr"
_UPDATES = 5
_FEW = 1_000
_HELD_OUT = 100


def varied(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs again and again, no two of them alike."""
    for number in count():
        for source, target in pairs:
            yield f"{source} {number}", f"{target} {number}"


def write_pairs(args: argparse.Namespace, num: int, path: Path) -> None:
    """Write so many pairs as gzipped JSON Lines."""
    pairs = [
        (example.source, example.references[0])
        for example in read_examples(args)
        if "\n" not in example.source + example.references[0]
    ]
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for source, target in islice(varied(pairs), num):
            row = {args.source: source, args.target: target}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def work(args: argparse.Namespace) -> None:
    """Train a few updates, and reply the peak and when each stage was over."""
    channel = Channel()
    from attuner.recipe_loading import load_recipe
    from attuner.training.events import DataPrepared, Event, Planned
    from attuner.training.run import train

    overrides = [
        "model.checkpoint=" + MODEL,
        "task.name=translation",
        f"task.source={args.source}",
        f"task.target={args.target}",
        f"data.train={args.folder / 'pairs.jsonl.gz'}",
        f"data.split.validation={_HELD_OUT}",
        f"data.split.test={_HELD_OUT}",
        f"training.max_steps={_UPDATES}",
        "training.evaluate=none",
        "training.device=cpu",
        f"output.folder={args.folder / 'runs'}",
    ]
    began = time.perf_counter()
    stages: Figures = {}

    def listen(event: Event) -> None:
        for name, kind in (("read", DataPrepared), ("encoded", Planned)):
            if isinstance(event, kind):
                stages[name] = time.perf_counter() - began
                stages[f"{name}_peak"] = resident("VmHWM")

    train(load_recipe(None, overrides), listeners=[listen])
    channel.reply(seconds=time.perf_counter() - began, peak=resident("VmHWM"), **stages)
    channel.go()


def measure(args: argparse.Namespace, num: int) -> Figures:
    """The figures of one size."""
    with TemporaryDirectory(prefix="attuner-benchmark-", dir=args.scratch) as name:
        folder = Path(name)
        note(f"writing {num:,} pairs")
        write_pairs(args, num, folder / "pairs.jsonl.gz")
        note(f"training on {num:,} pairs")
        arm = Arm("train", {"ATTUNER_CACHE": str(folder / "cache")})
        given = ["--source", args.source, "--target", args.target, "--folder", name]
        with started(arm, __file__, given) as worker:
            found = dict(worker.setup)
        found["file"] = (folder / "pairs.jsonl.gz").stat().st_size / 1e6
        kept = (folder / "cache" / "encoded").iterdir()
        found["ids"] = sum(path.stat().st_size for path in kept) / 1e6
        return found


def main() -> None:
    """Print a row for each size."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--data", default=DATA, help="anything that Attuner reads")
    made.add_argument("--source", default="en")
    made.add_argument("--target", default="fr")
    made.add_argument("--pairs", type=int, nargs="+", default=[500_000, 5_000_000])
    made.add_argument("--scratch", help="folder for pairs and cache; by default the system's")
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.worker:
        work(args)
        return
    sizes = [1_000, 2_000] if args.tiny else args.pairs
    print(describe_machine())
    base = measure(args, _FEW)
    print(f"Pairs: those of {args.data}, repeated with numbers; model {MODEL}")
    print(f"Libraries, model and a few updates on {_FEW:,} pairs: {base['peak']:,.0f} MB\n")
    print("MB beside that, at most, until the data are read, are tokenised, and the run is over:\n")
    print("| pairs | read | tokenised | over | seconds | of them reading | file, MB | ids, MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for num in sizes:
        found = measure(args, num)
        beside = [found[name] - base[name] for name in ("read_peak", "encoded_peak", "peak")]
        figures = (*beside, *(found[name] for name in ("seconds", "read", "file", "ids")))
        print(f"| {num:,} | {' | '.join(f'{value:,.0f}' for value in figures)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
