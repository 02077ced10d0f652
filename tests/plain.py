"""The same loss and gradients by transformers alone: padded, all logits, from `labels=`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tiny import PAD
from torch.nn.utils.rnn import pad_sequence

from attuner.data.features import Ints, SequencePairs, TokenColumn


def plain_batch(features: SequencePairs, rows: Ints) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels` as transformers takes them, in this order."""

    def padded(column: TokenColumn, fill: int) -> torch.Tensor:
        sequences = [torch.tensor(column[row].tolist()) for row in rows]
        return pad_sequence(sequences, batch_first=True, padding_value=fill)

    input_ids = padded(features.source, PAD)
    lengths = torch.from_numpy(features.source.lengths[rows])
    return {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "labels": padded(features.target, -100),
    }


def plain_loss(model: Any, features: SequencePairs, rows: Ints, smoothing: float = 0.0) -> Any:
    """Summed over real positions."""
    batch = plain_batch(features, rows)
    return torch.nn.functional.cross_entropy(
        model(**batch).logits.flatten(0, 1), batch["labels"].flatten(),
        label_smoothing=smoothing, reduction="sum",
    )  # fmt: skip


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Those of all trained parameters, by name, taken out of the model."""
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_near(
    found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], scale: float = 1.0
) -> None:
    """Each gradient times `scale` is the one wanted, to 1e-5 of it.

    Some are nothing but rounding (a bias of keys moves no softmax): they may differ by 1e-6 of the
    norm of all.
    """
    assert found.keys() == wanted.keys()
    rounding = 1e-6 * np.linalg.norm([float(grad.norm()) for grad in wanted.values()])
    for name, grad in wanted.items():
        difference = float((found[name] * scale - grad).norm())
        assert difference <= 1e-5 * float(grad.norm()) + rounding, name
