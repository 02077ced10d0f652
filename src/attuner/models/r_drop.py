"""R-Drop: two outputs of one example, by different dropout, are drawn together.

Wu, Li, Wang, Meng, Qin, Chen, Zhang, Liu: R-Drop: Regularized Dropout for Neural Networks (2021).
Their loss (equation 4) is halved here, so that without the divergence it is the plain one:

    ½ (CE(p) + CE(q)) + ½ α J(p, q)    where J(p, q) = ½ (KL(p‖q) + KL(q‖p))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attuner.data.labels import Kind
from attuner.errors import ModelError

_DROPOUTS = (
    "dropout", "dropout_rate", "attention_dropout", "activation_dropout", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "resid_pdrop", "mlp_dropout",
)  # fmt: skip


def require_dropout(model: nn.Module) -> None:
    """Refuse a model without dropout: its two outputs would be the same.

    Raises:
        ModelError: It has none.
    """
    config: Any = model.config
    of_adapter = any(isinstance(module, nn.Dropout) and module.p for module in model.modules())
    if not of_adapter and not any(getattr(config, name, 0.0) for name in _DROPOUTS):
        raise ModelError(
            "training.r_drop: this model has no dropout, so that its two outputs are the same.",
            "R-Drop draws two outputs together that differ by dropout.",
            "Set model.dropout=0.1, or leave training.r_drop out.",
        )


def twins(lengths: Tensor) -> Tensor:
    """Places of the tokens of packed sequences in which each is followed by its copy, (N,).

    In the order returned, each token is followed by its own copy.

    >>> twins(torch.tensor([2, 2, 1, 1])).tolist()
    [0, 2, 1, 3, 4, 5]
    """
    starts, own = (lengths.cumsum(0) - lengths)[::2], lengths[::2]
    within = torch.arange(int(own.sum()), device=lengths.device)
    within -= (own.cumsum(0) - own).repeat_interleave(own)
    places = starts.repeat_interleave(own) + within
    return torch.stack([places, places + own.repeat_interleave(own)], 1).flatten()


def divergence_of_twins(logits: Tensor, kind: Kind) -> Tensor:
    """J of the outputs of each text and of its copy, which is the next row, (B / 2,).

    Args:
        logits: (B, C), rows 0 and 1 twins, and so on.
        kind: What they say: `single`, a distribution over the labels; `multi`, one of two outcomes
            for each label, of which the mean is taken; `rating`, a number, of which the squared
            difference is taken, as the paper does.

    >>> divergence_of_twins(torch.tensor([[0.0, 0], [1, 0], [3, 1], [3, 1]]), "single")
    tensor([0.1155, 0.0000])
    """
    one, two = logits[::2], logits[1::2]
    if kind == "rating":
        return (one - two).square().mean(1)
    if kind == "multi":
        return ((one.sigmoid() - two.sigmoid()) * (one - two)).mean(1) / 2
    one, two = one.log_softmax(1), two.log_softmax(1)
    return ((one.exp() - two.exp()) * (one - two)).sum(1) / 2


def paired_cross_entropy(
    logits: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    ignored: int,
    smoothing: float,
    alpha: float,
    with_grad: bool,
) -> tuple[Tensor, Tensor]:
    """The summed loss of a chunk of twins, and its gradient by the logits.

    Args:
        logits: (N, V), rows 0 and 1 twins, and so on.
        bias: (V,), added to the logits.
        labels: (N,).
        ignored: Label of rows that count nothing.
        smoothing: Label smoothing of the cross-entropies.
        alpha: Weight of the divergence.
        with_grad: Whether the gradient is wanted; without it, the second result is `logits`.
    """
    scores = logits.float() if bias is None else logits.float() + bias
    logs = scores.log_softmax(1)
    real = (labels != ignored)[:, None]
    target = labels.clamp(min=0)[:, None]
    loss = -(logs.gather(1, target) * real).sum() * (1 - smoothing)
    if smoothing:
        loss -= (logs.mean(1, keepdim=True) * real).sum() * smoothing
    twin = logs.view(-1, 2, logs.shape[1]).flip(1).view_as(logs)  # each row's other one
    chances = logs.exp()
    distances = logs - twin
    divergence = (chances * distances).sum(1, keepdim=True)  # KL of each row from its twin
    loss += alpha / 2 * (divergence * real).sum()
    if not with_grad:
        return loss / 2, logits
    grad = chances * (1 + alpha / 2 * (distances - divergence + 1))
    grad -= alpha / 2 * twin.exp()
    if smoothing:
        grad -= smoothing / logits.shape[1]
    grad.scatter_add_(1, target, grad.new_full(target.shape, smoothing - 1))
    return loss / 2, (grad * real / 2).to(logits.dtype)
