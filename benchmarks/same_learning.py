"""The same learning: Attuner's fast path against plain transformers, and bf16 against fp32.

    python benchmarks/same_learning.py [--data FILE] [--updates 200] [--model embedded:en-fr]

One update in fp32 without dropout: loss and gradients by transformers' own forward on a padded
batch, and by Attuner's packed one. Then two arms train the same weights on the same examples in
the same order, in fp32 and in bf16, and score the same held-out rows in fp32. Without `--model` the
weights are random ones of the opus-mt-en-fr architecture.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
from engines import Work, attuner_recipe, new_model, train_with_attuner
from side_by_side import Arm, Channel, Figures, describe_machine, note, started, table
from subject import Subject, build_subject, parser, read_examples, saved, some_rows, training_pairs

ARMS = ("equality", "fp32", "bf16")
EXAMPLES = 32


def subject_of(args: argparse.Namespace) -> Subject:
    """The data as ids of the model, or of a vocabulary of their own where it is to be random."""
    if not args.model:
        return build_subject(args)
    from attuner.models.codec import load_codec
    from attuner.models.loading import resolve_model
    from attuner.tasks.translation import encode

    folder = resolve_model(args.model)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pairs = list(training_pairs(read_examples(args)))[: 500 if args.tiny else None]
    return Subject(config, encode(pairs, load_codec(folder)).features)


def fresh_model(subject: Subject, args: argparse.Namespace) -> Any:
    """The weights that every arm begins with, without dropout."""
    if not args.model:
        return new_model({**subject.config, "dropout": 0.0}, args.seed)
    from transformers import AutoModelForSeq2SeqLM

    from attuner.models.loading import resolve_model

    folder = resolve_model(args.model)
    return AutoModelForSeq2SeqLM.from_pretrained(
        folder, dtype="float32", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0
    )


def plain_update(model: Any, features: Any, rows: np.ndarray) -> tuple[float, Any]:
    """Mean loss and gradients as transformers computes them: padded, all logits."""
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    sources, targets = (
        [torch.tensor(column[row].tolist()) for row in rows]
        for column in (features.source, features.target)
    )
    ids = pad(sources, batch_first=True, padding_value=model.config.pad_token_id)
    lengths = torch.tensor([len(source) for source in sources])
    labels = pad(targets, batch_first=True, padding_value=-100)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    return loss.item(), _gradients(model)


def packed_update(model: Any, features: Any, rows: np.ndarray) -> tuple[float, Any]:
    """The same by Attuner's task."""
    import torch

    from attuner.tasks.translation import TranslationTask

    task = TranslationTask(model)
    with task.prepared(model):
        loss = task.loss(model, task.collate(features, rows, torch.device("cpu")))
        mean: Any = loss / int(features.target.lengths[rows].sum())
        mean.backward()
    return mean.item(), _gradients(model)


def _gradients(model: Any) -> Any:
    import torch

    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


def equality(subject: Subject, args: argparse.Namespace) -> Figures:
    """How far apart one update is, relative."""
    model = fresh_model(subject, args).train()
    rows = np.arange(EXAMPLES)
    expected, wanted = plain_update(model, subject.features, rows)
    loss, found = packed_update(model, subject.features, rows)
    return {
        "loss": abs(loss - expected) / expected,
        "gradients": float((found - wanted).norm() / wanted.norm()),
    }


def learned(subject: Subject, args: argparse.Namespace) -> Figures:
    """Held-out loss before and after so many updates in the precision that the arm names."""
    import torch

    from attuner.tasks.translation import TranslationTask
    from attuner.training.scoring import token_loss

    num = len(subject.features)
    held_out = np.random.default_rng(args.seed).permutation(num)[: min(1000, num // 5)]
    kept = some_rows(subject.features, held_out)
    train = some_rows(subject.features, np.setdiff1d(np.arange(num), held_out))
    model = fresh_model(subject, args)
    task = TranslationTask(model)

    def loss() -> float:
        with task.prepared(model):
            return token_loss(model, task, kept, torch.device("cpu"))

    losses: list[Work] = []

    def after_step(work: Work) -> bool:
        losses.append(work)
        if len(losses) % 50 == 0:
            note(f"{args.worker}: update {len(losses)} of {args.updates}")
        return True

    before = loss()
    recipe = attuner_recipe(
        subject.config, args.data, max_steps=args.updates, seed=args.seed, device="cpu",
        precision=args.worker, learning_rate=args.learning_rate,
    )  # fmt: skip
    precision = train_with_attuner(model, train, after_step, recipe=recipe)
    return {"before": before, "after": loss(), "precision": precision}


def work(args: argparse.Namespace) -> None:
    """What a worker does."""
    channel = Channel()
    subject = Subject.load(args.folder)
    if args.worker == "equality":
        channel.reply(**equality(subject, args))
    else:
        channel.reply(**learned(subject, args))
    channel.go()


def main() -> None:
    """Print both comparisons."""
    made = parser(__doc__)
    made.add_argument("--updates", type=int, default=200)
    made.add_argument("--learning-rate", type=float, default=3e-4)
    made.add_argument("--model", help="what to begin with, such as embedded:en-fr")
    args = made.parse_args()
    if args.worker:
        work(args)
        return
    print(describe_machine())
    subject = subject_of(args)
    print(subject.describe(args.data, args.model or "random weights"), flush=True)
    found: dict[str, Figures] = {}
    with saved(subject) as where:
        for name in ARMS:
            note(name)
            with started(Arm(name), __file__, [*sys.argv[1:], *where]) as worker:
                found[name] = worker.setup
    one = found["equality"]
    print(f"\nOne update in fp32, relative difference to transformers' forward: loss "
          f"{one['loss']:.1e}, gradients {one['gradients']:.1e}\n")  # fmt: skip
    print(f"{args.updates} updates of {EXAMPLES} examples, held-out loss in nats a token:\n")
    rows = [
        [name, str(found[name]["precision"]), f"{found[name]['before']:.4f}",
         f"{found[name]['after']:.4f}",
         f"{100 * (found[name]['after'] / found['fp32']['after'] - 1):+.2f} %"]
        for name in ("fp32", "bf16")
    ]  # fmt: skip
    print(table(["arm", "computed in", "before", "after", "to fp32"], rows))


if __name__ == "__main__":
    main()
