"""AdamW and the learning rate as pure functions of the recipe's numbers."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from attuner.models.sharding import own_row
from attuner.training.adamw import AdamW


def build_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float = 0.01,
    computes_in: torch.dtype | None = None,
    layer_decay: float = 1.0,
) -> AdamW:
    """AdamW for all trained parameters; biases and norms (one dimension) are not decayed.

    A group's learning rate is the run's times its `rate_factor`: see `set_learning_rate`.

    >>> layer = nn.Linear(3, 2)
    >>> optimizer = build_optimizer(layer, learning_rate=0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
    [(1, 0.01), (1, 0.0)]
    >>> layer(torch.ones(1, 3)).sum().backward()  # the gradient of all eight weights is 1
    >>> round(optimizer.clip(1.0), 4)  # its norm; the step scales it to 1
    2.8284
    >>> optimizer.step()
    >>> optimizer.zero_grad()

    Args:
        model: Its weights are fp32.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        computes_in: Type of the copies that forward and backward use; see `AdamW`.
        layer_decay: Factor of the learning rate from each layer to the one below it (Howard and
            Ruder 2018, equation 2 and what follows); the head has the whole rate.
    """
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    groups = parameter_groups(model, weight_decay=weight_decay, layer_decay=layer_decay)
    return AdamW(groups, learning_rate=learning_rate, computes_in=computes_in, frozen=frozen)


def parameter_groups(
    model: nn.Module, *, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Trained parameters with their weight decay and `rate_factor`; see `build_optimizer`."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, weight_decay): [], (1.0, 0.0): []}
    top = max(layer_of(name) or 0 for name, _ in model.named_parameters()) + 1
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer = layer_of(name)
            factor = 1.0 if layer is None else layer_decay ** (top - layer)
            decay = weight_decay if parameter.ndim > 1 else 0.0
            found.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "rate_factor": factor}
        for (factor, decay), parameters in found.items()
        if parameters
    ]


_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The layer of a weight, from 1, by its name; 0 for embeddings, None for what is on top.

    >>> [layer_of(name) for name in ("bert.embeddings.word_embeddings.weight",
    ...     "bert.encoder.layer.3.output.dense.bias", "transformer.h.0.ln_1.weight",
    ...     "bert.pooler.dense.weight", "classifier.weight")]
    [0, 4, 1, None, None]
    """
    found = _LAYER.search(name)
    if found:
        return int(found.group(1)) + 1
    return 0 if _EMBEDDING.search(name) else None


# Embeddings of tokens, positions and types, and their norms: what lies below the first layer.
_EMBEDDING = re.compile(r"(?:^|\.)(?:\w*embed\w*|w[tp]e|shared)(?:\.|$)")


def learning_rate_at(
    step: int, *, peak: float, num_steps: int, warmup_steps: int = 0, schedule: str = "linear"
) -> float:
    """Learning rate of an update.

    Args:
        step: Number of the update, from 0.
        peak: Highest rate.
        num_steps: Updates in all.
        warmup_steps: Updates in which the rate rises from zero in a line.
        schedule: `linear` (falls to zero at `num_steps`, as transformers'
            get_linear_schedule_with_warmup) or `constant`.

    >>> [learning_rate_at(step, peak=1.0, num_steps=4) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    >>> [learning_rate_at(step, peak=1.0, num_steps=4, warmup_steps=2) for step in range(4)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    if schedule == "constant":
        return peak
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next update have a learning rate; each group has its `rate_factor` of it.

    >>> optimizer = build_optimizer(nn.Linear(3, 2), learning_rate=1.0)
    >>> set_learning_rate(optimizer, learning_rate_at(3, peak=1.0, num_steps=4))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.25, 0.25]
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


def keep_pad_row_zero(model: nn.Module) -> None:
    """Keep the embedding of the decoder's start token at zero, where it is zero.

    Marian starts its decoder from a zero embedding; transformers from the row of the pad token,
    which is tied to the output layer, so that plain fine-tuning moves it and CTranslate2, which
    starts from zero as Marian does, then disagrees. A frozen row stays as it is.
    """
    config = model.config
    weight = model.get_output_embeddings().weight  # type: ignore[operator]
    start: int | None = config.decoder_start_token_id  # type: ignore[union-attr,assignment]
    family: str = config.model_type  # type: ignore[union-attr,assignment]
    if family != "marian" or start is None or not weight.requires_grad:
        return
    row = own_row(weight, start)  # of a sharded model, one process has it
    if row is None or bool(row.any()):
        return

    def clear(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            own_row(parameter.grad, start)[:] = 0  # type: ignore[index]

    weight.register_post_accumulate_grad_hook(clear)
