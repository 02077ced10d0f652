"""Time to the stock trainer's BLEU: Attuner's default recipe on the embedded model.

    python benchmarks/time_to_quality.py [--data FILE] [--pairs 40000] [--output FOLDER] [--reuse]

Arms, one after the other, a process each:

- trainer-course: Seq2SeqTrainer with the course's recipe at full length: 3 epochs, 2e-5, weight
  decay 0.01, linear, batches of 32. The best BLEU that it reaches is the mark. `--engine course`
  (the default) computes as the course does: fp32, random order. `--engine best` is the trainer at
  its best on this machine, as in training.py: the stricter comparison, several times as short.
- attuner: `attuner train` with the recipe `translation`, a whole run with its checkpoints.
- trainer-our-settings: Seq2SeqTrainer with Attuner's learning rate and schedule; stops when it
  has reached the mark. It tells what the engine brings from what the settings bring.

All learn from the same training examples (Attuner's split by source, fixed seed), as the same token
ids, and are scored by the same function on the same validation examples: CTranslate2 in float32,
beam 4. Each writes its curve to FOLDER/ARM.jsonl; `--reuse` takes finished ones from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from engines import Work, faster_attention, train_with_trainer
from side_by_side import (
    Arm,
    Channel,
    describe_machine,
    find_allocator,
    note,
    started,
    table,
)
from subject import parser

if TYPE_CHECKING:
    from attuner.recipe import Recipe

ARMS = ("trainer-course", "attuner", "trainer-our-settings")
SPLIT_SEED = 20

Point = dict[str, float]


class Curve:
    """BLEU over time, a line of JSON each point.

    Time in updates and time in evaluations are counted apart; what is done meanwhile (writing,
    saving) counts as neither.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.write_text("", encoding="utf-8")
        self.train_seconds = 0.0
        self.evaluation_seconds = 0.0
        self.step = 0
        self.best = 0.0

    def add(self, scores: dict[str, float], seconds: float) -> None:
        """Note an evaluation that took `seconds`."""
        self.evaluation_seconds += seconds
        self.best = max(self.best, scores["bleu"])
        self._write(
            step=self.step,
            train_seconds=self.train_seconds,
            evaluation_seconds=self.evaluation_seconds,
            bleu=scores["bleu"],
            loss=scores["loss"],
        )

    def finish(self) -> None:
        """Mark the curve as whole."""
        self._write(finished=1)

    def _write(self, **point: float) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(point) + "\n")


def read_curve(file: Path) -> list[Point] | None:
    """The points of a finished curve; None where there is none."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    points: list[Point] = [json.loads(line) for line in lines]
    return points[:-1] if points and "finished" in points[-1] else None


def build_recipe(args: argparse.Namespace, *overrides: str) -> Recipe:
    """The ready recipe `translation` on the first `--pairs` training examples."""
    from attuner.ready_recipes import ready_recipe
    from attuner.recipe_loading import load_recipe

    return load_recipe(
        ready_recipe("translation"),
        [
            f"model={args.model}",
            f"data={args.data}",
            f"task.source={args.source}",
            f"task.target={args.target}",
            f"data.split={{by: source, validation: {args.validation}, test: 0, "
            f"seed: {SPLIT_SEED}}}",
            f"data.train_subset={{n: {args.pairs}, seed: {args.seed}}}",
            f"training.seed={args.seed}",
            *overrides,
        ],
    )


def attuner_arm(args: argparse.Namespace, curve: Curve) -> None:
    """A whole run; its listener measures the time between the events of the loop."""
    from attuner.training.events import Evaluated, Event, Finished, Stepped
    from attuner.training.run import train

    clock = [time.perf_counter()]

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            curve.step = event.step
            curve.train_seconds += time.perf_counter() - clock[0]
        elif isinstance(event, Evaluated) and event.when != "after":
            curve.add(dict(event.scores), event.seconds)
        elif isinstance(event, Finished):
            note(f"updates: {event.train_seconds:.1f} s by the loop's own clock")
        clock[0] = time.perf_counter()

    with TemporaryDirectory(prefix="attuner-benchmark-") as folder:
        recipe = build_recipe(
            args,
            "training.evaluate=steps",
            f"training.evaluate_every_steps={args.evaluate_every}",
            "training.best_metric=bleu",
            f"output.folder={folder}",
        )
        train(recipe, listeners=[listen])


def trainer_arm(args: argparse.Namespace, curve: Curve, **options: Any) -> None:
    """The stock trainer on the same examples, paused while it is scored."""
    import torch

    from attuner.models.precision import has_fast_bf16
    from attuner.tasks.translation import TranslationTask
    from attuner.training.data import prepare_data
    from attuner.training.origin import find_origin, load_model
    from attuner.training.parts import encode_parts
    from attuner.training.scoring import GenerationOptions, generated_scores, token_loss

    recipe = build_recipe(args)
    origin = find_origin(recipe)
    assert origin is not None
    model: Any = load_model(recipe, origin)
    codec = origin.codec
    features, parts, _ = encode_parts(recipe, prepare_data(recipe), origin, lambda _: None)
    part, task = parts["validation"], TranslationTask(model)
    per_epoch = -(-len(features) // options["per_device_train_batch_size"])
    every = max(1, per_epoch // args.evaluations)

    def evaluate() -> None:
        began = time.perf_counter()
        with torch.random.fork_rng(), task.prepared(model):
            loss = token_loss(model, task, part.features, torch.device("cpu"))
        found = generated_scores(model, codec, part.examples, GenerationOptions())
        curve.add({"loss": loss, **found.scores}, time.perf_counter() - began)

    clock = [0.0]

    def after_step(_: Work) -> bool:
        curve.train_seconds += time.perf_counter() - clock[0]
        curve.step += 1
        if curve.step % every == 0 or curve.step == 3 * per_epoch:
            evaluate()
        clock[0] = time.perf_counter()
        return args.mark is None or curve.best < args.mark

    if args.engine == "best":
        model.set_attn_implementation(faster_attention(model, features))
        options |= {"grouped": True, "bf16": has_fast_bf16()}
    evaluate()
    clock[0] = time.perf_counter()
    train_with_trainer(model, features, after_step, seed=args.seed, num_train_epochs=3, **options)


def work(args: argparse.Namespace) -> None:
    """Train the arm from beginning to end."""
    channel = Channel()
    curve = Curve(args.output / f"{args.worker}.jsonl")
    if args.worker == "attuner":
        attuner_arm(args, curve)
    elif args.worker == "trainer-course":
        trainer_arm(args, curve, per_device_train_batch_size=32, learning_rate=2e-5)
    else:
        ours = build_recipe(args).training
        trainer_arm(
            args,
            curve,
            per_device_train_batch_size=args.batch,
            learning_rate=ours.learning_rate,
            lr_scheduler_type=ours.schedule,
            warmup_steps=ours.warmup_steps,
            weight_decay=ours.weight_decay,
            max_grad_norm=ours.max_grad_norm,
        )
    curve.finish()
    channel.reply(finished=True)
    channel.go()


def first_at(points: Sequence[Point], mark: float) -> Point | None:
    """The first point that is as good as the mark."""
    return next((point for point in points if point["bleu"] >= mark), None)


def report(curves: dict[str, list[Point]], mark: float) -> str:
    """When each arm reached the mark, with evaluations and without."""
    base = first_at(curves["trainer-course"], mark)
    assert base is not None
    rows = []
    for name, points in curves.items():
        best = max(point["bleu"] for point in points)
        start = points[0]["bleu"]
        at = first_at(points, mark)
        cells = ["not reached"] * 5
        if at is not None:
            seconds = at["train_seconds"]
            # The evaluation of the untuned model is made by all, before they start.
            counted = seconds + at["evaluation_seconds"] - points[0]["evaluation_seconds"]
            of_base = base["train_seconds"] + base["evaluation_seconds"]
            of_base -= curves["trainer-course"][0]["evaluation_seconds"]
            cells = [
                f"{at['step']:.0f}",
                f"{seconds:.1f}",
                f"1/{base['train_seconds'] / seconds:.1f}" if seconds else "-",
                f"{counted:.1f}",
                f"1/{of_base / counted:.1f}" if counted else "-",
            ]
        rows.append([name, f"{start:.2f}", f"{best:.2f}", *cells])
    header = ["arm", "BLEU untuned", "best BLEU", "updates", "seconds", "of course's",
              "with evaluations", "of course's"]  # fmt: skip
    return f"The mark: BLEU {mark:.2f}. When it was reached:\n\n{table(header, rows)}"


def plot(curves: dict[str, list[Point]], mark: float, file: Path) -> None:
    """BLEU over training time, which grows by factors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        trained = [point for point in points if point["train_seconds"] > 0]
        axes.plot(
            [point["train_seconds"] for point in trained],
            [point["bleu"] for point in trained],
            marker=".",
            label=name,
        )
    axes.axhline(mark, color="grey", linestyle="--", linewidth=1)
    axes.set(xscale="log", xlabel="seconds of training", ylabel="BLEU on validation")
    axes.legend()
    figure.savefig(file, dpi=150)


def main() -> None:
    """Run what is not there yet, and print the comparison."""
    args = arguments()
    if args.worker:
        work(args)
        return
    args.output.mkdir(parents=True, exist_ok=True)
    print(describe_machine())
    print(f"Data: at most {args.pairs:,} training examples of {args.data}; model: {args.model}")
    allocator = find_allocator() if args.engine == "best" else None
    preloaded = {"LD_PRELOAD": allocator} if allocator else {}
    print(f"The trainer computes as {args.engine}; allocator: {allocator or 'the C library'}")
    curves: dict[str, list[Point]] = {}
    mark = 0.0
    for name in ARMS:
        file = args.output / f"{name}.jsonl"
        points = read_curve(file) if args.reuse else None
        if points is None:
            given = [*sys.argv[1:], *(["--mark", str(mark)] if "settings" in name else [])]
            run_arm(Arm(name, preloaded if name.startswith("trainer") else {}), given)
            points = read_curve(file)
            assert points is not None
        curves[name] = points
        mark = max(point["bleu"] for point in curves["trainer-course"][1:])
    print(report(curves, mark))
    plot(curves, mark, args.output / "curves.png")
    print(f"\nCurves: {args.output / 'curves.png'}")


def run_arm(arm: Arm, given: list[str]) -> None:
    """Let a worker train from beginning to end."""
    note(f"training {arm.name}")
    with started(arm, __file__, given):
        pass


def arguments() -> argparse.Namespace:
    """The options, made smaller by `--tiny`."""
    made = parser(__doc__)
    made.add_argument("--model", default="embedded:en-fr", help="folder or Hub id")
    made.add_argument("--pairs", type=int, default=40_000, help="training examples at most")
    made.add_argument("--validation", type=int, default=1000, help="validation examples")
    made.add_argument("--evaluate-every", type=int, default=20, help="updates of attuner's arm")
    made.add_argument("--evaluations", type=int, default=8, help="an epoch of the trainer's arms")
    made.add_argument("--batch", type=int, default=32, help="examples of trainer-our-settings")
    made.add_argument("--engine", choices=("course", "best"), default="course",
                      help="how the trainer's arms compute")  # fmt: skip
    made.add_argument("--output", type=Path, default=Path("runs/time-to-quality"))
    made.add_argument("--reuse", action="store_true", help="take finished curves from the output")
    made.add_argument("--mark", type=float, help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.tiny:
        args.pairs, args.validation, args.evaluate_every, args.evaluations = 96, 16, 1, 1
    return args


if __name__ == "__main__":
    main()
