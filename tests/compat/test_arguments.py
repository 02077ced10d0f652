"""Training arguments in older spellings mean what they meant, and a line names today's."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from attuner.compat import Seq2SeqTrainingArguments, Trainer, TrainingArguments
from attuner.compat.spellings import GONE, RENAMED, SWITCHES

FIELDS = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}


@pytest.fixture(autouse=True)
def _on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def test_old_names_are_gone_from_transformers_and_todays_are_there() -> None:
    old = {*RENAMED, *SWITCHES, *GONE, "logging_dir"}
    assert not old & FIELDS
    todays = {*RENAMED.values(), *(name for spelled in SWITCHES.values() for name in spelled)}
    assert todays <= FIELDS


@pytest.mark.parametrize("arguments", [TrainingArguments, Seq2SeqTrainingArguments])
@pytest.mark.parametrize(
    ("old", "value", "today", "found", "line"),
    [
        ("evaluation_strategy", "epoch", "eval_strategy", "epoch",
         "evaluation_strategy is called eval_strategy today."),
        ("no_cuda", True, "use_cpu", True, "no_cuda is called use_cpu today."),
        ("per_gpu_train_batch_size", 3, "per_device_train_batch_size", 3,
         "per_gpu_train_batch_size is called per_device_train_batch_size today."),
        ("warmup_ratio", 0.1, "warmup_steps", 0.1,
         "warmup_ratio is called warmup_steps today."),
        ("push_to_hub_model_id", "me/model", "hub_model_id", "me/model",
         "push_to_hub_model_id is called hub_model_id today."),
        ("group_by_length", True, "train_sampling_strategy", "group_by_length",
         "group_by_length=True is spelled train_sampling_strategy='group_by_length' today."),
        ("adafactor", True, "optim", "adafactor",
         "adafactor=True is spelled optim='adafactor' today."),
        ("optim", "adamw_hf", "optim", "adamw_torch",
         "optim='adamw_hf' is spelled optim='adamw_torch' today."),
        ("fp16", True, "fp16", False,
         "fp16 is for accelerators; on a processor precision='auto' takes bf16 where it is fast."),
        ("bf16", True, "use_cpu", True,
         "bf16=True without an accelerator wants use_cpu=True today."),
        ("overwrite_output_dir", True, "output_dir", "out",
         "overwrite_output_dir has no effect any more: nothing in output_dir is in the way."),
    ],
)  # fmt: skip
def test_old_spelling(
    arguments: Any,
    old: str,
    value: Any,
    today: str,
    found: Any,
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        made = arguments("out", **{old: value})
    kept = getattr(made, today)
    assert getattr(kept, "value", kept) == found
    assert caplog.messages == [line]


def test_logging_dir(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "before")
    TrainingArguments("out", logging_dir="curves")
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "curves"
    assert caplog.messages == [
        "logging_dir is the environment variable TENSORBOARD_LOGGING_DIR today."
    ]


def test_todays_spelling_says_nothing_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    made = Seq2SeqTrainingArguments("out", eval_strategy="epoch", predict_with_generate=True)
    assert made.predict_with_generate
    assert made.precision == "auto"
    assert caplog.messages == []
    made = TrainingArguments("out", eval_strategy="epoch", evaluation_strategy="no")
    assert made.eval_strategy == "epoch"


@pytest.mark.parametrize(
    ("steps", "ratio", "counts"), [(0, 0.1, 0.1), (50, 0.1, 50), (50, 0.0, 50), (0, 0.0, 0)]
)
def test_a_warmup_in_steps_counts_where_there_are_any(
    steps: int, ratio: float, counts: float
) -> None:
    assert TrainingArguments("out", warmup_steps=steps, warmup_ratio=ratio).warmup_steps == counts
    assert TrainingArguments("out", warmup_ratio=ratio, warmup_steps=steps).warmup_steps == counts


def test_arguments_are_transformers_own(tmp_path: Path) -> None:
    made = Seq2SeqTrainingArguments(str(tmp_path), precision="fp32", use_cpu=True)
    assert isinstance(made, transformers.Seq2SeqTrainingArguments)
    (parsed,) = transformers.HfArgumentParser(TrainingArguments).parse_dict(
        {"output_dir": str(tmp_path), "use_cpu": True, "precision": "fp32"}
    )
    assert parsed.precision == "fp32"
    assert made.to_dict()["precision"] == "fp32"


def test_unknown_arguments_are_still_refused() -> None:
    with pytest.raises(TypeError, match="evaluation_stategy"):
        TrainingArguments("out", evaluation_stategy="no")


def test_tokenizer_is_processing_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tiny_classifiers import tiny_classifier, write_encoder

    tokenizer = transformers.AutoTokenizer.from_pretrained(write_encoder(tmp_path))
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    trainer = Trainer(tiny_classifier(), arguments, tokenizer=tokenizer)
    assert trainer.processing_class is trainer.tokenizer is tokenizer
    assert caplog.messages == ["tokenizer is called processing_class today."]
