"""AdamW on weights of which each process holds a share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


class ShardedAdamW(torch.optim.AdamW):
    """torch's own AdamW, with what the loop asks of `adamw.AdamW`.

    The own kernels and the bf16 copies take plain tensors; shares are `DTensor`s, and a gathered
    layer is bf16 already. Moments are sharded as their weights are.

    Args:
        groups: Parameters and their options, as torch's optimizers take them.
        learning_rate: May be changed in `param_groups` at any time.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, learning_rate: float) -> None:
        super().__init__(groups, lr=learning_rate, weight_decay=0.0, fused=True)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Nothing to put into the model: it gathers what it computes with."""
        yield

    def collect(self) -> None:
        """Nothing to take out: gradients add up in the shares, in fp32."""

    @torch.no_grad()
    def clip(self, max_norm: float, *, scale: float = 1.0) -> float:
        """Scale the whole gradient, and scale it down to at most `max_norm`; returns its norm.

        Args:
            max_norm: The limit.
            scale: Factor of the gradient, for norm and step.
        """
        grads = list(self._gradients())
        total: Any = get_total_norm(grads)
        norm = scale * float(total.full_tensor() if hasattr(total, "full_tensor") else total)
        for grad in grads:
            grad.mul_(scale * min(1.0, max_norm / (norm + 1e-6)))
        return norm

    def _gradients(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            yield from (p.grad for p in group["params"] if p.grad is not None)
