"""Memory of a training step: Attuner against Seq2SeqTrainer, 32 examples an update.

    python benchmarks/memory.py [--data FILE] [--rounds 5] [--examples 256]

The arms are those of training.py. Each round of each arm is a fresh process. It first trains a
tiny model, so that libraries are loaded and their pools exist; what counts is the peak of the
resident size over one epoch, above the size before the model is built. All arms see the same
examples in that epoch, so the longest one is in a batch of each. Linux only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from engines import Work
from side_by_side import (
    Arm,
    Channel,
    Figures,
    describe_machine,
    find_allocator,
    note,
    ratio_table,
    started,
)
from subject import TINY, Subject, build_subject, parser, saved, some_rows
from training import ARMS, BASELINES, build_arms, train_arm


def resident(field: str) -> float:
    """VmRSS or VmHWM (its peak) of this process, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return float(value.split()[0]) / 1000
    raise SystemExit(f"/proc/self/status has no {field}: this benchmark needs Linux.")


def forget_peak() -> None:
    """Let VmHWM begin anew (proc(5): clear_refs, 5)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def work(args: argparse.Namespace) -> None:
    """Train one epoch, and reply the peak."""
    channel = Channel()
    subject = Subject.load(args.folder)
    first = some_rows(subject.features, np.arange(min(64, len(subject.features))))
    first.source.values[:] %= TINY["pad_token_id"]
    first.target.values[:] %= TINY["pad_token_id"]
    train_arm(args.worker, Subject(TINY, first), lambda _: True, args, {}, epochs=1)

    seen: list[Work] = []

    def after_step(done: Work) -> bool:
        seen.append(done)
        return True

    told: Figures = {}
    before = resident("VmRSS")
    forget_peak()
    train_arm(args.worker, subject, after_step, args, told, epochs=1)
    peak = resident("VmHWM") - before
    examples = sum(update.examples for update in seen)
    channel.reply(peak=peak, before=before, updates=len(seen), examples=examples, **told)
    channel.go()


def main() -> None:
    """Print the comparison."""
    made = parser(__doc__)
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    made.add_argument("--examples", type=int, default=256, help="drawn from the data at random")
    made.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa",
                      help="of trainer-best")  # fmt: skip
    args = made.parse_args()
    if args.worker:
        work(args)
        return
    allocator = find_allocator()
    print(describe_machine())
    print(f"Allocator of trainer-best: {allocator or 'no tcmalloc or jemalloc found'}")
    whole = build_subject(args)
    rows = np.random.default_rng(args.seed).permutation(len(whole.features))[: args.examples]
    subject = Subject(whole.config, some_rows(whole.features, rows))
    print(subject.describe(args.data), flush=True)
    arms = build_arms(args.arms, allocator)
    found: dict[str, list[Figures]] = {arm.name: [] for arm in arms}
    with saved(subject) as where:
        for number in range(args.rounds):
            for arm in arms:
                note(f"round {number + 1} of {args.rounds}: {arm.name}")
                found[arm.name].append(measure(arm, [*sys.argv[1:], *where]))
    one = next(iter(found.values()))[0]
    print(f"{one['updates']} updates over {one['examples']} examples\n")
    print(f"Peak above the size before the model, median (lowest..highest) of {args.rounds}:\n")
    print(ratio_table(found, "peak", unit="MB", baselines=BASELINES, digits=0))


def measure(arm: Arm, given: list[str]) -> Figures:
    """The figures of one fresh process."""
    with started(arm, __file__, given) as worker:
        return worker.setup


if __name__ == "__main__":
    main()
