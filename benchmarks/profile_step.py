"""Where the time of a training step goes: Attuner's loop on the opus-mt-en-fr architecture.

    python benchmarks/profile_step.py [--data FILE] [--updates 10]

Attuner's arm of training.py under torch's profiler. Each operation's own time goes to the first
group whose pattern fits the operation or what it was called from.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from typing import Any

from engines import Work
from side_by_side import Arm, Channel, Figures, describe_machine, started, table
from subject import Subject, build_subject, flops, parser, saved
from training import WARM_UP_UPDATES, measure_peak, train_arm

OUTPUT = "output layer and loss"
PRODUCTS = "matrix products of layers"
COPIES = "casts and copies"
# Each is looked for in the operation and all that it was called from, innermost first. What has
# the vocabulary among its dimensions, and fits none before it, is the output layer's.
GROUPS = (
    ("optimizer and clipping", r"Optimizer\.|adam|_foreach|clip_grad|linalg_vector_norm|sqnorm"),
    ("batch making", r"batch making"),
    ("embedding", r"embedding|_Lookup"),
    (OUTPUT, r"LinearCrossEntropy|cross_entropy|linear_ce|log_?softmax|logsumexp"),
    ("attention", r"attention|_Native|_Pad|_Unpad|bmm|softmax|index_select|index_copy|masked_fill"),
    ("dropout", r"dropout|bernoulli"),
    ("norms, activations, sums", r"layer_?norm|silu|gelu|relu|aten::(add|mul|div|sum)_?\b"),
    (PRODUCTS, r"aten::(mm|addmm|linear|matmul)\b|mkldnn|Addmm|MmBackward"),
    (COPIES, r"aten::(copy_|_?to|_to_copy|clone|cat|contiguous|fill_|zero_|zeros|empty\w*)\b"),
)
OTHER = "other operations"
BETWEEN = "between operations (Python, the loop)"


def group_of(name: str, callers: str, shapes: Any, vocabulary: int) -> str:
    """The group of an operation.

    >>> group_of("aten::mm", "aten::linear", [[32, 512], [512, 512]], 59514)
    'matrix products of layers'
    >>> group_of("aten::mm", "aten::linear", [[32, 512], [512, 59514]], 59514)
    'output layer and loss'
    """
    whole = f"{name} < {callers}"
    for number, (group, pattern) in enumerate(GROUPS):
        if number == 3 and any(vocabulary in shape for shape in shapes if shape):
            return OUTPUT
        if re.search(pattern, whole, re.IGNORECASE):
            return group
    return OTHER


class Profiling:
    """Told after each update: profiles so many after the warm-up."""

    def __init__(self, updates: int) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
        self.seconds = 0.0
        self.plain_seconds = 0.0
        self.work: list[Work] = []
        self.plain_work: list[Work] = []
        self.largest: dict[str, float] = defaultdict(float)
        self._updates = updates
        self._seen = 0
        self._start = 0.0

    def __call__(self, work: Work) -> bool:
        """First as many updates without the profiler, to know what it costs; then with it."""
        self._seen += 1
        done = self._seen - WARM_UP_UPDATES
        if 0 < done <= self._updates:
            self.plain_work.append(work)
        if done == 0:
            self._start = time.perf_counter()
        elif done == self._updates:
            self.plain_seconds = time.perf_counter() - self._start
            self.profiler.start()
            self._start = time.perf_counter()
        elif self._updates < done <= 2 * self._updates:
            self.work.append(work)
            if done == 2 * self._updates:
                self.seconds = time.perf_counter() - self._start
                self.profiler.stop()
                return False
        return True

    def groups(self, vocabulary: int) -> dict[str, float]:
        """Seconds of an update by group, in all."""
        found: dict[str, float] = defaultdict(float)
        events: Any = self.profiler.events()  # type: ignore[no-untyped-call]
        for event in events:
            callers, parent = [], event.cpu_parent
            while parent is not None:
                callers.append(parent.name)
                parent = parent.cpu_parent
            group = group_of(event.name, " < ".join(callers), event.input_shapes, vocabulary)
            found[group] += event.self_cpu_time_total / 1e6
            self.largest[f"{group}: {event.name}"] += event.self_cpu_time_total / 1e6
        found[BETWEEN] = max(0.0, self.seconds - sum(found.values()))
        return found


def work(args: argparse.Namespace) -> None:
    """Train under the profiler; reply seconds by group."""
    import torch

    from attuner.tasks.translation import TranslationTask

    channel = Channel()
    task: Any = TranslationTask
    collate = task.collate

    def recorded(*given: Any) -> Any:
        with torch.profiler.record_function("batch making"):
            return collate(*given)

    task.collate = recorded
    subject = Subject.load(args.folder)
    told: Figures = {}
    peak = measure_peak(256 if args.tiny else 4096)
    profiling = Profiling(args.updates)
    train_arm(args.worker, subject, profiling, args, told)
    source_tokens = sum(update.source_tokens for update in profiling.plain_work)
    target_tokens = sum(update.target_tokens for update in profiling.plain_work)
    operations = flops(subject.config, source_tokens, target_tokens)
    channel.reply(
        groups=profiling.groups(subject.config["vocab_size"]),
        largest=sorted(profiling.largest.items(), key=lambda item: -item[1])[: args.top],
        seconds=profiling.seconds,
        plain_seconds=profiling.plain_seconds,
        gflops=operations / profiling.plain_seconds / 1e9,
        peak=peak[told["precision"]],
        target_tokens=sum(update.target_tokens for update in profiling.work),
        **told,
    )
    channel.go()


def report(figures: Figures, updates: int) -> str:
    """The table, in ms and per cent of an update."""
    total = figures["seconds"]
    rows = [
        [name, f"{1000 * seconds / updates:.1f}", f"{100 * seconds / total:.1f} %"]
        for name, seconds in sorted(figures["groups"].items(), key=lambda item: -item[1])
    ]
    rows.append(["an update", f"{1000 * total / updates:.1f}", "100 %"])
    largest = [[name, f"{1000 * seconds / updates:.1f}"] for name, seconds in figures["largest"]]
    plain = 1000 * figures["plain_seconds"] / updates
    return (
        f"{updates} updates of 32 examples, {figures['target_tokens'] / updates:.0f} target tokens "
        f"each on average, {figures['precision']}\n\n{table(['part', 'ms', 'share'], rows)}\n\n"
        f"Other updates, without the profiler: {plain:.1f} ms each\n"
        f"{figures['gflops']:.0f} GFLOP/s on real tokens, "
        f"{100 * figures['gflops'] / figures['peak']:.0f} % of the peak of "
        f"{figures['precision']} matrix products ({figures['peak']:.0f})"
        + (f"\n\n{table(['operation', 'ms'], largest)}" if largest else "")
    )


def main() -> None:
    """Print the table."""
    made = parser(__doc__)
    made.add_argument("--arm", choices=("attuner", "attuner-plain"), default="attuner")
    made.add_argument("--updates", type=int, default=10)
    made.add_argument("--top", type=int, default=0, help="list so many operations, too")
    args = made.parse_args()
    if args.worker:
        work(args)
        return
    print(describe_machine())
    subject = build_subject(args)
    print(subject.describe(args.data), flush=True)
    env = {"ATTUNER_KERNELS": "none"} if args.arm == "attuner-plain" else {}
    with (
        saved(subject) as where,
        started(Arm(args.arm, env), __file__, [*sys.argv[1:], *where]) as w,
    ):
        print(report(w.setup, args.updates))


if __name__ == "__main__":
    main()
