"""Training throughput: Attuner against transformers' Seq2SeqTrainer, 32 examples an update.

    python benchmarks/training.py [--data FILE] [--rounds 5] [--seconds 8]

Arms, each a process, working in turn:

- trainer-course: Seq2SeqTrainer as the course has it (fp32, random order).
- trainer-best: the same at its best on this machine: batches of alike lengths, bf16 where the
  processor has it, the faster of SDPA and eager attention, tcmalloc or jemalloc preloaded.
- attuner: Attuner's loop as a run builds it, random order.
- attuner-plain: the same without optional native kernels (ATTUNER_KERNELS=none).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from engines import (
    AfterStep,
    Work,
    attuner_recipe,
    faster_attention,
    new_model,
    train_with_attuner,
    train_with_trainer,
)
from side_by_side import (
    Arm,
    Channel,
    Figures,
    describe_machine,
    find_allocator,
    interleave,
    ratio_table,
    started,
    table,
)
from subject import Subject, build_subject, flops, parser, saved

ARMS = ("trainer-course", "trainer-best", "attuner", "attuner-plain")
BASELINES = ("trainer-course", "trainer-best")
# Two do not agree how long the first updates take: memory is fresh, kernels are made.
WARM_UP_UPDATES = 3
# group_by_length sorts so many batches at a time, the longest first: a round is whole ones.
SORTED_BATCHES = 50


class Rounds:
    """Told after each update: ends rounds, and lets no work be done between them."""

    def __init__(self, channel: Channel, *, warm_up: int, updates: int, seconds: float) -> None:
        self._channel = channel
        self._warm_up = warm_up
        self._updates, self._seconds = updates, seconds
        self._work: list[Work] = []
        self._start = 0.0
        self.setup: Figures = {}

    def __call__(self, work: Work) -> bool:
        """Count an update; False when there are no more rounds."""
        now = time.perf_counter()
        if self._warm_up > 0:
            self._warm_up -= 1
            if self._warm_up:
                return True
            self._channel.reply(**self.setup)
        else:
            self._work.append(work)
            if len(self._work) < self._updates or now - self._start < self._seconds:
                return True
            self._channel.reply(**_round_figures(self._work, now - self._start))
        goes_on = self._channel.go()
        self._work, self._start = [], time.perf_counter()
        return goes_on


def _round_figures(work: Sequence[Work], seconds: float) -> Figures:
    examples = sum(update.examples for update in work)
    target = sum(update.target_tokens for update in work)
    return {
        "updates": len(work),
        "seconds": seconds,
        "examples": examples,
        "source_tokens": sum(update.source_tokens for update in work),
        "target_tokens": target,
        "target_places": sum(update.target_places for update in work),
        "examples_per_second": examples / seconds,
        "tokens_per_second": target / seconds,
    }


def build_arms(names: Sequence[str], allocator: str | None) -> list[Arm]:
    """The arms with the environment that each alone has."""
    env = {
        "trainer-best": {"LD_PRELOAD": allocator} if allocator else {},
        "attuner-plain": {"ATTUNER_KERNELS": "none"},
    }
    return [Arm(name, env.get(name, {})) for name in names]


def train_arm(
    name: str,
    subject: Subject,
    after_step: AfterStep,
    args: argparse.Namespace,
    told: Figures,
    **options: Any,
) -> None:
    """Train as the arm does, until `after_step` says that it is enough.

    Args:
        name: The arm.
        subject: Model and data.
        after_step: Told after each update.
        args: `attention` and `seed` are used.
        told: Where the arm's own choices are noted.
        **options: Number of epochs: `epochs`.
    """
    from attuner.models.precision import has_fast_bf16

    epochs = options.get("epochs", 1000)
    bf16 = has_fast_bf16() and name != "trainer-course"
    told["precision"] = "bf16" if bf16 else "fp32"
    model = new_model(subject.config, args.seed)
    if name.startswith("attuner"):
        recipe = attuner_recipe(
            subject.config, args.data, epochs=epochs, seed=args.seed, device="cpu"
        )
        train_with_attuner(model, subject.features, after_step, recipe=recipe)
        return
    if name == "trainer-best":
        attention = args.attention
        if attention == "auto":
            attention = faster_attention(model, subject.features)
        model.set_attn_implementation(attention)
    told["attention"] = model.config._attn_implementation
    train_with_trainer(
        model,
        subject.features,
        after_step,
        seed=args.seed,
        grouped=name == "trainer-best",
        bf16=bf16,
        num_train_epochs=epochs,
    )


def measure_peak(size: int) -> Figures:
    """Operations a second, in 10⁹, of the product of two square matrices, by precision."""
    import torch

    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        torch.nn.functional.linear(a, b)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            torch.nn.functional.linear(a, b)
            seconds.append(time.perf_counter() - began)
        found[name] = 2 * size**3 / min(seconds) / 1e9
    return found


def work(args: argparse.Namespace) -> None:
    """What a worker does."""
    channel = Channel()
    if args.worker == "peak":
        channel.reply(**measure_peak(256 if args.tiny else 4096))
        channel.go()
        return
    subject = Subject.load(args.folder)
    updates = args.updates
    if args.worker == "trainer-best":
        updates = max(updates, min(SORTED_BATCHES, len(subject.features) // 128))
    rounds = Rounds(channel, warm_up=WARM_UP_UPDATES, updates=updates, seconds=args.seconds)
    train_arm(args.worker, subject, rounds, args, rounds.setup)


def report(
    subject: Subject, peak: Figures, setup: dict[str, Figures], found: dict[str, list[Figures]]
) -> str:
    """All that was found, as Markdown."""
    rows = []
    for name, rounds in found.items():
        total = {key: sum(figures[key] for figures in rounds) for key in rounds[0]}
        speed = flops(subject.config, total["source_tokens"], total["target_tokens"])
        speed /= total["seconds"] * 1e9
        precision = setup[name]["precision"]
        rows.append(
            [
                name,
                f"{total['updates']}",
                f"{total['examples'] / total['seconds']:.1f}",
                f"{total['target_tokens'] / total['seconds']:.0f}",
                f"{100 * total['target_tokens'] / total['target_places']:.0f} %",
                f"{speed:.0f}",
                f"{100 * speed / peak[precision]:.0f} % of {precision}",
                str(setup[name].get("attention", "packed")),
            ]
        )
    header = ["arm", "updates", "sentences/s", "target tokens/s", "real places", "GFLOP/s",
              "of peak", "attention"]  # fmt: skip
    ratios = ratio_table(
        found, "examples_per_second", unit="sentences/s", baselines=BASELINES, digits=1
    )
    return (
        f"Matrix products at their peak: fp32 {peak['fp32']:.0f}, bf16 {peak['bf16']:.0f} GFLOP/s\n"
        f"\nMedian (lowest..highest) of {len(next(iter(found.values())))} rounds:\n\n{ratios}\n"
        f"\nAll rounds together:\n\n{table(header, rows)}"
    )


def main() -> None:
    """Print the comparison."""
    args = arguments(__doc__).parse_args()
    if args.worker:
        work(args)
        return
    allocator = find_allocator()
    print(describe_machine())
    print(f"Allocator of trainer-best: {allocator or 'no tcmalloc or jemalloc found'}")
    subject = build_subject(args)
    print(subject.describe(args.data), flush=True)
    with saved(subject) as where:
        given = [*sys.argv[1:], *where]
        with started(Arm("peak"), __file__, given) as worker:
            peak = worker.setup
        arms = build_arms(args.arms, allocator)
        setup, found = interleave(arms, __file__, given, rounds=args.rounds)
    print(report(subject, peak, setup, found))


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options of the benchmarks that train."""
    made = parser(doc)
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    made.add_argument("--seconds", type=float, default=8.0, help="a round is at least so long")
    made.add_argument("--updates", type=int, default=4, help="and at least so many updates")
    made.add_argument("--attention", choices=("auto", "sdpa", "eager"), default="auto",
                      help="of trainer-best")  # fmt: skip
    return made


if __name__ == "__main__":
    main()
