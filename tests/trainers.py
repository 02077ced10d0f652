"""The same tiny training by transformers' trainer and by ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import transformers
from datasets import Dataset
from tiny import PAD, VOCABULARY
from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding

from attuner.compat import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

STOCK = (transformers.Seq2SeqTrainer, transformers.Seq2SeqTrainingArguments)
OURS = (Seq2SeqTrainer, Seq2SeqTrainingArguments)
STOCK_LABELS = (transformers.Trainer, transformers.TrainingArguments)
OUR_LABELS = (Trainer, TrainingArguments)


class Padding:
    """What the collators want of a tokenizer."""

    pad_token_id = PAD
    padding_side = "right"
    model_input_names = ("input_ids", "attention_mask")

    def __init__(self, pad: int = PAD) -> None:
        self.pad_token_id = pad

    def save_pretrained(self, folder: str) -> None:
        """Nothing: there are no files."""

    def pad(self, rows: Any, **_: Any) -> Any:
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        fills = {"input_ids": self.pad_token_id, "attention_mask": 0, "token_type_ids": 0}
        return transformers.BatchEncoding(
            {
                name: torch.tensor(
                    [[*row[name], *[fills[name]] * (longest - len(row[name]))] for row in rows]
                    if name in fills
                    else [row[name] for row in rows]
                )
                for name in rows[0]
            }
        )


def pairs(num: int = 24, seed: int = 0, longest: int = 12) -> Dataset:
    """Random ids, end token included."""
    random = np.random.default_rng(seed)

    def row() -> list[int]:
        return [*random.integers(4, VOCABULARY, random.integers(1, longest)).tolist(), 0]

    sources = [row() for _ in range(num)]
    return Dataset.from_dict(
        {
            "input_ids": sources,
            "attention_mask": [[1] * len(ids) for ids in sources],
            "labels": [row() for _ in range(num)],
        }
    )


def train_text(arm: Any, model: Any, folder: Path, **more: Any) -> Any:
    """A trainer that has trained 6 updates of 8 pairs."""
    trainer = build_text(arm, model, folder, **more)
    trainer.train()
    return trainer


def build_text(
    arm: Any, model: Any, folder: Path, *, given: dict[str, Any] | None = None, **more: Any
) -> Any:
    trainer_class, arguments_class = arm
    settings = {
        "use_cpu": True, "per_device_train_batch_size": 8, "num_train_epochs": 2,
        "learning_rate": 1e-3, "weight_decay": 0.1, "logging_steps": 1, "report_to": [],
        "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    if arm in (OURS, OUR_LABELS):
        settings["precision"] = "fp32"
    data = pairs()
    return trainer_class(
        model,
        arguments_class(str(folder), **{**settings, **more}),
        **{
            "train_dataset": data,
            "eval_dataset": data.select(range(10)),
            "data_collator": DataCollatorForSeq2Seq(Padding(), model=model),
            **(given or {}),
        },
    )


def train_labels(
    arm: Any, model: Any, data: Dataset, folder: Path, *, pad: int, **more: Any
) -> Any:
    """A trainer that has trained two epochs of 8 texts an update."""
    trainer_class, arguments_class = arm
    settings = {
        "use_cpu": True, "num_train_epochs": 2, "learning_rate": 1e-3, "logging_steps": 1,
        "report_to": [], "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    if arm in (OURS, OUR_LABELS):
        settings["precision"] = "fp32"
    trainer = trainer_class(
        model,
        arguments_class(str(folder), **{**settings, **more}),
        train_dataset=data,
        eval_dataset=data.select(range(11)),
        data_collator=DataCollatorWithPadding(Padding(pad)),
    )
    trainer.train()
    return trainer


def assert_same_history(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    """The same numbers under the same names, but for what is measured by a clock."""
    assert len(found.state.log_history) == len(wanted.state.log_history)
    for ours, theirs in zip(found.state.log_history, wanted.state.log_history, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            if "runtime" not in name and "per_second" not in name and "time" not in name:
                assert abs(ours[name] - value) <= tolerance * max(1, abs(value)), (name, theirs)


def assert_same_updates(found: Any, wanted: Any) -> None:
    """The same losses and norms of gradients, though other numbers of batches made them."""
    for ours, theirs in zip(found.state.log_history, wanted.state.log_history, strict=True):
        for name in {"loss", "grad_norm", "train_loss"} & theirs.keys():
            assert abs(ours[name] - theirs[name]) <= 1e-5 * theirs[name], (name, theirs)
