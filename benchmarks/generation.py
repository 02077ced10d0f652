"""Evaluation by generation: Attuner against `Seq2SeqTrainer.evaluate`, beam 4.

    python benchmarks/generation.py [--data FILE] [--sentences 300] [--rounds 5]

Arms, each a process, working in turn on the same strings, at most 128 tokens a translation:

- trainer-evaluate: `Seq2SeqTrainer.evaluate(predict_with_generate=True)`, batches of 64 in the
  order of the file, as the course has it: loss, generation, BLEU.
- generate-sorted: transformers' `generate` on batches of 64 of alike lengths, and BLEU; no loss.
- attuner-float32, attuner-int8: what a run does to score its validation examples: the loss (in the
  precision that it trains in, bf16 where the processor has it), the conversion of the model in
  memory to CTranslate2, generation, BLEU and chrF.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from side_by_side import Arm, Channel, Figures, describe_machine, interleave, ratio_table, table
from subject import MAX_TOKENS, parser, short_pairs

ARMS = ("trainer-evaluate", "generate-sorted", "attuner-float32", "attuner-int8")
NUM_BEAMS = 4
BATCH = 64

Pairs = Sequence[tuple[str, str]]
# Scores once: figures of its own, `bleu` among them.
Evaluate = Callable[[], Figures]


def trainer_evaluate(folder: Path, pairs: Pairs, target: str) -> Evaluate:
    """The stock trainer, with a metric as the course computes it."""
    import numpy as np
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    model, tokenizer = _stock(folder)
    sources, references = zip(*pairs, strict=True)
    rows = Dataset.from_dict(
        dict(tokenizer(list(sources), text_target=list(references), max_length=MAX_TOKENS,
                       truncation=True))
    )  # fmt: skip

    def scores(result: Any) -> dict[str, float]:
        made, labels = (np.where(ids < 0, tokenizer.pad_token_id, ids) for ids in result)
        return {"bleu": bleu(_decode(tokenizer, made), _decode(tokenizer, labels), target)}

    arguments = Seq2SeqTrainingArguments(
        gettempdir(),  # nothing is written
        use_cpu=True,
        predict_with_generate=True,
        per_device_eval_batch_size=BATCH,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Seq2SeqTrainer(
        model,
        arguments,
        eval_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=scores,
    )

    def evaluate() -> Figures:
        found = trainer.evaluate(max_new_tokens=MAX_TOKENS, num_beams=NUM_BEAMS)
        return {"bleu": found["eval_bleu"]}

    return evaluate


def generate_sorted(folder: Path, pairs: Pairs, target: str) -> Evaluate:
    """What a careful user writes: long strings first, each batch of alike lengths."""
    import torch

    model, tokenizer = _stock(folder)
    sources, references = zip(*pairs, strict=True)

    def evaluate() -> Figures:
        ids = tokenizer(list(sources), max_length=MAX_TOKENS, truncation=True)["input_ids"]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        made = [""] * len(ids)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]},
                                      return_tensors="pt")  # fmt: skip
                output = model.generate(**batch, max_new_tokens=MAX_TOKENS, num_beams=NUM_BEAMS)
                for row, text in zip(rows, _decode(tokenizer, output), strict=True):
                    made[row] = text
        return {"bleu": bleu(made, references, target)}

    return evaluate


def attuner_evaluate(
    folder: Path, pairs: Pairs, target: str, *, source: str, quantization: str
) -> Evaluate:
    """What a run does to score its validation examples."""
    import torch

    from attuner.data.line_pairs import training_pairs
    from attuner.data.units import Address, Example
    from attuner.evaluation.evaluate import evaluate as score
    from attuner.inference.translator import Translator
    from attuner.models.codec import load_codec
    from attuner.models.loading import load_seq2seq
    from attuner.models.precision import has_fast_bf16
    from attuner.tasks.translation import TranslationTask, encode
    from attuner.training.optimizer import build_optimizer
    from attuner.training.scoring import GenerationOptions, build_engine, token_loss

    model, codec = load_seq2seq(folder), load_codec(folder)
    task = TranslationTask(model)
    # As in a run: the loss in the precision of training, generation from the fp32 weights.
    computing = build_optimizer(
        model,
        learning_rate=0.0,
        weight_decay=0.0,
        computes_in=torch.bfloat16 if has_fast_bf16() else None,
    ).computing
    examples = [
        Example(text, (reference,), source, target, Address("benchmark", str(row)))
        for row, (text, reference) in enumerate(pairs)
    ]
    features = encode(list(training_pairs(examples)), codec).features
    options = GenerationOptions(quantization=quantization, num_beams=NUM_BEAMS)

    def evaluate() -> Figures:
        with task.prepared(model):
            loss = token_loss(
                model, task, features, torch.device("cpu"),
                batch_examples=BATCH, computing=computing,
            )  # fmt: skip
        began = time.perf_counter()
        engine = build_engine(model, codec, options)
        conversion_seconds = time.perf_counter() - began
        found = score(Translator(engine), examples, num_beams=NUM_BEAMS, max_new_tokens=MAX_TOKENS)
        return {
            "bleu": found.scores["bleu"],
            "loss": loss,
            "conversion_seconds": conversion_seconds,
        }

    return evaluate


def bleu(made: Sequence[str], references: Sequence[str], target: str) -> float:
    """Corpus BLEU, the same function for all arms."""
    from attuner.evaluation.metrics import METRICS

    return METRICS["bleu"](made, [[reference] for reference in references], target).value


def _stock(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer as transformers loads them."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def _decode(tokenizer: Any, ids: Any) -> list[str]:
    texts = tokenizer.batch_decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in texts]


def build_arm(args: argparse.Namespace, folder: Path, pairs: Pairs) -> Evaluate:
    """The arm that the worker is asked for."""
    if args.worker == "trainer-evaluate":
        return trainer_evaluate(folder, pairs, args.target)
    if args.worker == "generate-sorted":
        return generate_sorted(folder, pairs, args.target)
    quantization = args.worker.removeprefix("attuner-")
    return attuner_evaluate(
        folder, pairs, args.target, source=args.source, quantization=quantization
    )


def work(args: argparse.Namespace) -> None:
    """What a worker does: load, warm up on a few strings, then score when told."""
    from attuner.models.loading import resolve_model

    channel = Channel()
    folder = resolve_model(args.model)
    pairs = short_pairs(args, args.sentences)
    build_arm(args, folder, pairs[:8])()
    evaluate = build_arm(args, folder, pairs)
    channel.reply(sentences=len(pairs))
    while channel.go():
        began = time.perf_counter()
        figures = evaluate()
        seconds = time.perf_counter() - began
        converted = seconds - figures.get("conversion_seconds", 0.0)
        channel.reply(
            **figures,
            seconds=seconds,
            speed=len(pairs) / seconds,
            speed_converted=len(pairs) / converted,
        )


def report(found: dict[str, list[Figures]]) -> str:
    """Ratios, and the scores that belong to them."""
    baselines = ARMS[:2]
    scores = {name: rounds[0]["bleu"] for name, rounds in found.items()}
    known = [name for name in baselines if name in scores]
    header = ["arm", "seconds a round", "conversion, s", "BLEU", *(f"− {name}" for name in known)]
    rows = [
        [
            name,
            f"{statistics.median(figures['seconds'] for figures in rounds):.2f}",
            f"{statistics.median(f.get('conversion_seconds', 0.0) for f in rounds):.2f}",
            f"{scores[name]:.2f}",
            *(f"{scores[name] - scores[baseline]:+.2f}" for baseline in known),
        ]
        for name, rounds in found.items()
    ]
    whole = ratio_table(found, "speed", unit="sentences/s", baselines=baselines)
    without = ratio_table(found, "speed_converted", unit="sentences/s", baselines=baselines)
    return (
        f"All that an evaluation does, median (lowest..highest):\n\n{whole}\n"
        f"\nWithout the conversion to CTranslate2:\n\n{without}\n\n{table(header, rows)}"
    )


def main() -> None:
    """Print the comparison."""
    made = parser(__doc__)
    made.add_argument("--model", default="embedded:en-fr", help="folder or Hub id")
    made.add_argument("--sentences", type=int, default=300)
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    args = made.parse_args()
    if args.worker:
        work(args)
        return
    print(describe_machine())
    arms = [Arm(name) for name in args.arms]
    setup, found = interleave(arms, __file__, sys.argv[1:], rounds=args.rounds)
    num = next(iter(setup.values()))["sentences"]
    print(f"Data: {num} strings of {args.data}; model: {args.model}; beam {NUM_BEAMS}\n")
    print(report(found))


if __name__ == "__main__":
    main()
