"""Training arguments: transformers' own, older spellings, and one more: the number format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from attuner.compat.spellings import logger, todays

_HELP = {"help": "Number format of matrix products: auto, fp32 or bf16."}


@dataclass
class _Arguments(transformers.TrainingArguments):  # type: ignore[misc]
    precision: str = field(default="auto", metadata=_HELP)


@dataclass
class _Seq2SeqArguments(transformers.Seq2SeqTrainingArguments):  # type: ignore[misc]
    precision: str = field(default="auto", metadata=_HELP)


class _OldSpellings:
    """Takes what older versions of transformers took, with a line that names today's."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **_fit_for_machine(todays(given)))


class TrainingArguments(_OldSpellings, _Arguments):
    """`transformers.TrainingArguments` with older names and `precision`.

    `precision="auto"` is bf16 where the machine is fast at it, else fp32.
    """


class Seq2SeqTrainingArguments(_OldSpellings, _Seq2SeqArguments):
    """`transformers.Seq2SeqTrainingArguments` with older names and `precision`, as above."""


def _fit_for_machine(given: dict[str, Any]) -> dict[str, Any]:
    """Half precision as this machine can have it."""
    if not given.get("use_cpu") and torch.accelerator.is_available():
        return given
    if given.get("fp16"):
        logger.warning(
            "fp16 is for accelerators; on a processor precision='auto' takes bf16 where it is fast."
        )
        given = {**given, "fp16": False}
    if given.get("bf16") and not given.get("use_cpu"):
        logger.warning("bf16=True without an accelerator wants use_cpu=True today.")
        given = {**given, "use_cpu": True}
    return given
