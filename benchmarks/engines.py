"""Both sides of a training benchmark: the stock trainer's own loop, and Attuner's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from subject import some_rows

if TYPE_CHECKING:
    from attuner.data.features import Features, SequencePairs
    from attuner.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Work:
    """What one update learned from, counted in the batch that the model was given.

    Attributes:
        examples: Pairs of lines.
        source_tokens: Real ones.
        target_tokens: Real ones.
        target_places: Positions that the decoder computed, padding included.
    """

    examples: int
    source_tokens: int
    target_tokens: int
    target_places: int


# Told after each update; False ends the training.
AfterStep = Callable[[Work], bool]


def new_model(config: dict[str, Any], seed: int) -> Any:
    """The same random weights for every arm."""
    from attuner.models.loading import new_seq2seq

    return new_seq2seq(config, seed=seed)


def train_with_trainer(
    model: Any,
    features: SequencePairs,
    after_step: AfterStep,
    *,
    seed: int,
    grouped: bool = False,
    **options: Any,
) -> None:
    """Train with `Seq2SeqTrainer.train()`; by default as the course has it: fp32, batches of 32.

    Args:
        model: In fp32.
        features: What to learn from.
        after_step: Told after each update.
        seed: Of order and dropout.
        grouped: Batches of alike lengths (`train_sampling_strategy="group_by_length"`).
        **options: Others of `Seq2SeqTrainingArguments`.
    """
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    def counted(inputs: Any) -> Work:
        labels = inputs["labels"]
        real, seen = int((labels != -100).sum()), int(inputs["attention_mask"].sum())
        return Work(len(labels), seen, real, labels.numel())

    tokenizer = _padding_tokenizer(model.config.pad_token_id, model.config.eos_token_id)
    run_trainer(
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        model,
        _columns(features),
        _collator(tokenizer, model),
        counted,
        after_step,
        seed=seed,
        grouped=grouped,
        processing_class=tokenizer,
        **{
            "per_device_train_batch_size": 32,
            "learning_rate": 2e-5,
            "weight_decay": 0.01,
            **options,
        },
    )


def run_trainer(
    trainer: Any,
    arguments: Any,
    model: Any,
    columns: dict[str, list[Any]],
    collator: Any,
    counted: Callable[[Any], Work],
    after_step: AfterStep,
    *,
    seed: int,
    grouped: bool,
    processing_class: Any = None,
    **options: Any,
) -> None:
    """Train with a stock trainer until `after_step` says that it is enough.

    Args:
        trainer: Its class.
        arguments: The class of its arguments.
        model: In fp32.
        columns: What to learn from, with the column `length`.
        collator: Rows → a batch.
        counted: What a batch holds.
        after_step: Told after each update.
        seed: Of order and dropout.
        grouped: Batches of alike lengths.
        processing_class: A tokenizer, where the trainer asks for one.
        **options: Other arguments.
    """
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    done: list[Work] = []

    class Counting(trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            done.append(counted(inputs))
            return super().training_step(model, inputs, *args, **kwargs)

    class Telling(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop |= not after_step(done.pop())
            return control

    with TemporaryDirectory(prefix="attuner-benchmark-") as folder:
        asked = arguments(
            folder,
            use_cpu=True,
            train_sampling_strategy="group_by_length" if grouped else "random",
            remove_unused_columns=not grouped,  # it would remove the lengths, and count anew
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=seed,
            **options,
        )
        Counting(
            model,
            asked,
            train_dataset=Dataset.from_dict(columns),
            data_collator=collator,
            processing_class=processing_class,
            callbacks=[Telling()],
        ).train()


def train_with_attuner(
    model: Any, features: SequencePairs, after_step: AfterStep, *, recipe: Recipe
) -> str:
    """Train with Attuner's own loop, built as a run builds it; returns the precision."""
    from attuner.tasks.translation import TranslationTask
    from attuner.training.optimizer import keep_pad_row_zero

    keep_pad_row_zero(model)
    task = TranslationTask(model, label_smoothing=recipe.training.label_smoothing)
    return run_attuner(model, task, features, after_step, recipe=recipe)


def run_attuner(
    model: Any, task: Any, features: Features, after_step: AfterStep, *, recipe: Recipe
) -> str:
    """Train with Attuner's loop until `after_step` says that it is enough.

    Returns:
        The precision of the matrix products.
    """
    from attuner.training import setup
    from attuner.training.events import Stepped
    from attuner.training.loop import train_loop
    from attuner.training.optimizer import build_optimizer

    options = recipe.training
    setup.set_seeds(options.seed)
    device = setup.build_device(recipe, lambda _: None, model_type=model.config.model_type)
    accelerator = device.accelerator
    plan = setup.build_plan(recipe, features, is_packed=task.is_packed)
    optimizer = build_optimizer(
        model,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        computes_in=device.computes_in,
    )
    prepared, wrapped = setup.prepare(accelerator, model, optimizer)
    counts = {"source": 0, "places": 0}
    source_lengths = features.source_lengths

    def collate(rows: Any) -> Any:
        batch = task.collate(features, rows, accelerator.device)
        counts["source"] += int(source_lengths[rows].sum())
        counts["places"] += batch["targets"].numel()
        return batch

    num_steps = options.max_steps or plan.num_updates(options.epochs)
    with task.prepared(model):
        events = train_loop(
            prepared,
            wrapped,
            plan,
            accelerator,
            collate=collate,
            loss=task.loss,
            evaluate=lambda: ({}, {}),
            save=lambda state, is_best: Path(),
            settings=setup.loop_settings(recipe, num_steps, has_validation=False),
        )
        for event in events:
            if not isinstance(event, Stepped):
                continue  # nothing was saved
            work = Work(
                event.num_examples, counts["source"], event.num_target_tokens, counts["places"]
            )
            counts |= {"source": 0, "places": 0}
            if not after_step(work):
                break
    return device.precision


def faster_attention(model: Any, features: SequencePairs) -> str:
    """SDPA or eager: whichever trains faster in bf16, over batches of alike lengths."""
    collate = _collator(_padding_tokenizer(model.config.pad_token_id, model.config.eos_token_id))
    chosen = [some_rows(features, rows) for rows in alike_rows(features.source.lengths, 32)]
    return faster_on(model, [collate(_as_dicts(_columns(rows))) for rows in chosen], bf16=True)


def alike_rows(lengths: np.ndarray, batch: int) -> list[np.ndarray]:
    """The rows of four batches of alike lengths, from short to long."""
    order = np.argsort(lengths, kind="stable")
    starts = np.linspace(0, max(0, len(order) - batch), 6).astype(int)[1:-1]
    return [order[start : start + batch] for start in starts]


def faster_on(model: Any, batches: Sequence[Any], *, bf16: bool) -> str:
    """SDPA or eager: whichever trains faster over batches, each three times, the fastest counts."""
    import torch

    seconds = {}
    model.train()
    for name in ("sdpa", "eager"):
        model.set_attn_implementation(name)
        seconds[name] = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = model(**batch).loss
                loss.backward()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    model.zero_grad()
    return min(seconds, key=lambda name: seconds[name])


def attuner_recipe(config: dict[str, Any], data: str, **training: Any) -> Recipe:
    """A recipe with the course's settings, whose model is made from a configuration."""
    from attuner.recipe import Recipe

    asked = {"batch_examples": 32, "learning_rate": 2e-5, "weight_decay": 0.01, **training}
    return Recipe.model_validate(
        {
            "task": {"name": "translation", "source": "en", "target": "fr"},
            "model": {"config": config, "tokenizer": "made from the data"},
            "data": data,
            "training": asked,
        }
    )


def _columns(features: SequencePairs) -> dict[str, list[Any]]:
    source = [features.source[row].tolist() for row in range(len(features))]
    return {
        "input_ids": source,
        "attention_mask": [[1] * len(ids) for ids in source],
        "labels": [features.target[row].tolist() for row in range(len(features))],
        "length": [len(ids) for ids in source],
    }


def _as_dicts(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _collator(tokenizer: Any, model: Any = None) -> Any:
    from transformers import DataCollatorForSeq2Seq

    class Collator(DataCollatorForSeq2Seq):  # type: ignore[misc]
        def __call__(self, rows: Any, *args: Any, **kwargs: Any) -> Any:
            for row in rows:
                row.pop("length", None)
            return super().__call__(rows, *args, **kwargs)

    return Collator(tokenizer, model=model)


def _padding_tokenizer(pad: int, eos: int) -> Any:
    """A tokenizer that knows how to pad ids and nothing else: what the collator asks for."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({"</s>": eos, "<unk>": 1, "<pad>": pad}, unk_token="<unk>")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
