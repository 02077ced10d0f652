"""AdamW: the one that left transformers, and the one that the trainers use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attuner.training import adamw


class AdamW(torch.optim.AdamW):
    """torch's AdamW with the defaults of the one that transformers had: no weight decay, eps 1e-6.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> AdamW([weight], lr=5e-5).defaults["eps"]
    1e-06
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        no_deprecation_warning: bool = False,
    ) -> None:
        if not correct_bias:
            from attuner.errors import UsageError

            raise UsageError(
                "AdamW was asked for correct_bias=False.",
                "torch's AdamW always corrects the bias of its moments.",
                "Leave correct_bias out.",
            )
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class TrainerAdamW(adamw.AdamW):
    """Attuner's AdamW for a loop that clears the gradients of the model, not of the optimizer."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights, and forget the gradients that were taken out of the model."""
        super().step(closure)
        self._grads.clear()

    def clip_to(self, max_norm: float) -> Tensor:
        """The gradient's norm, a scalar; the next step scales it down to at most `max_norm`."""
        return torch.tensor(self.clip(max_norm))
