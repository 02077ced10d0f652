"""AdamW and the learning rate as pure functions of the recipe's numbers."""

from __future__ import annotations

import torch
from torch import nn

from attuner.training.adamw import AdamW


def build_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    computes_in: torch.dtype | None = None,
) -> AdamW:
    """AdamW for all trained parameters; biases and norms (one dimension) are not decayed.

    Args:
        model: Its weights are fp32.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        computes_in: Type of the copies that forward and backward use; see `AdamW`.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return AdamW(groups, learning_rate=learning_rate, computes_in=computes_in, frozen=frozen)


def learning_rate_at(
    step: int, *, peak: float, num_steps: int, warmup_steps: int, schedule: str
) -> float:
    """Learning rate of an update.

    Args:
        step: Number of the update, from 0.
        peak: Highest rate.
        num_steps: Updates in all.
        warmup_steps: Updates in which the rate rises from zero in a line.
        schedule: `linear` (falls to zero at `num_steps`, as transformers'
            get_linear_schedule_with_warmup) or `constant`.

    >>> [learning_rate_at(s, peak=1.0, num_steps=4, warmup_steps=0, schedule="linear")
    ...  for s in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    if schedule == "constant":
        return peak
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))


def keep_pad_row_zero(model: nn.Module) -> None:
    """Keep the embedding of the decoder's start token at zero, where it is zero.

    Marian starts its decoder from a zero embedding; transformers from the row of the pad token,
    which is tied to the output layer, so that plain fine-tuning moves it and CTranslate2, which
    starts from zero as Marian does, then disagrees. A frozen row stays as it is.
    """
    config = model.config
    weight = model.get_output_embeddings().weight  # type: ignore[operator]
    start: int | None = config.decoder_start_token_id  # type: ignore[union-attr,assignment]
    if config.model_type != "marian" or start is None or bool(weight[start].any()):  # type: ignore[union-attr]
        return
    if not weight.requires_grad:
        return

    def clear(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad[start] = 0

    weight.register_post_accumulate_grad_hook(clear)
