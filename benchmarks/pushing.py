"""What pushing to the Hub after each checkpoint costs the loop.

    python benchmarks/pushing.py [--data FILE] [--source en --target fr] [--rounds 5]

A round is a run of `attuner train` on the embedded model that saves every `--every` updates. Arms
take turns, each run is a process of its own:

- alone: nothing is pushed.
- pushing: each checkpoint, to the stand-in for the Hub that the tests use, on this machine.
- slow-line: the same over a line of `--line` MB/s, so that a push is under way nearly all the time.

Time is the loop's: updates, checkpoints and what listens to them; neither preparing nor scoring. On
two cores the pushing process and the stand-in share them with the training, which uses both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from side_by_side import Arm, Channel, Figures, describe_machine, interleave, ratio_table, table
from subject import DATA

ROOT = Path(__file__).parents[1]
ARMS = ("alone", "pushing", "slow-line")


def work(args: argparse.Namespace) -> None:
    """Run the recipe once for each round, and reply how long its updates took."""
    sys.path.insert(0, str(ROOT / "tests"))
    from hub.server import Hub

    channel = Channel()
    channel.reply()
    if sys.platform == "linux":  # the stand-in is elsewhere in truth: it gives way
        os.setsid()
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")
    while channel.go():
        with TemporaryDirectory(prefix="attuner-benchmark-") as name, Hub() as hub:
            folder = Path(name)
            if args.worker == "slow-line":
                hub.fault("PUT /lfs/", bytes_per_second=args.line * 1e6)
            events = train(args, folder, hub.environment(folder / "home"))
            repos = list(hub.repos.values())
            num_commits = len(repos[0].messages) if repos else 0
        steps = [event for event in events if event["event"] == "stepped"]
        seconds = [0.0, *(step["seconds"] for step in steps)]
        each = [after - before for before, after in pairwise(seconds)]
        channel.reply(
            per_second=len(steps) / seconds[-1],
            milliseconds=1000 * statistics.median(each),
            commits=num_commits,
        )


def train(args: argparse.Namespace, folder: Path, environment: dict[str, str]) -> list[Figures]:
    """The events of one run."""
    options = [
        "model=embedded:en-fr",
        f"task={{name: translation, source: {args.source}, target: {args.target}}}",
        f"data={args.data}",
        "data.split.validation=50",
        "data.split.test=50",
        f"training.max_steps={args.updates}",
        "training.save=steps",
        f"training.save_every_steps={args.every}",
        "training.evaluate=none",
        "training.device=cpu",
        f"output.folder={folder / 'runs'}",
        "output.name=measured",
    ]
    if args.worker != "alone":
        options += ["publish.hub_id=measured", f"publish.wait_seconds={args.wait}"]
    subprocess.run(
        [sys.executable, "-m", "attuner", "train", *options],
        check=True, stdout=sys.stderr, cwd=folder, env={**os.environ, **environment},
        start_new_session=True,
    )  # fmt: skip
    lines = (folder / "runs/measured/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main() -> None:
    """Print the table."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    made.add_argument("--data", default=DATA, help="anything that Attuner reads")
    made.add_argument("--source", default="en")
    made.add_argument("--target", default="fr")
    made.add_argument("--updates", type=int, default=60)
    made.add_argument("--every", type=int, default=10, help="updates from save to save")
    made.add_argument("--line", type=float, default=2.0, help="MB/s of the slow line")
    made.add_argument("--wait", type=float, default=0, help="seconds for the last push, untimed")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.tiny:
        args.updates, args.every, args.line, args.wait = 4, 2, 50.0, 60
    if args.worker:
        work(args)
        return
    print(describe_machine())
    print(f"{args.updates} updates on {args.data}, saved every {args.every}", flush=True)
    arms = [Arm(name) for name in ARMS]
    _, found = interleave(arms, __file__, sys.argv[1:], rounds=args.rounds)
    print(f"Median (lowest..highest) of {args.rounds} rounds:\n")
    print(ratio_table(found, "per_second", unit="updates/s", baselines=("alone",), digits=2))
    rows = [
        [name, *(str(statistics.median(r[f] for r in rounds)) for f in ("milliseconds", "commits"))]
        for name, rounds in found.items()
    ]
    print("\n" + table(["arm", "milliseconds an update, median", "commits"], rows))


if __name__ == "__main__":
    main()
