"""Means of weights over a run: running (EMA), or of its last checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = Mapping[str, "Tensor"]


class Ema:
    """An exponential moving average of the trained weights, in fp32 (Polyak and Juditsky 1992).

    Args:
        model: Where it will compute; the mean begins with the weights that it has.
        decay: Share of the mean that an update leaves, at most.

    Attributes:
        weights: The mean, by the weights' names.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._model = model
        self.weights = {name: tensor.clone() for name, tensor in trained_weights(model).items()}

    def update(self, step: int) -> None:
        """Take in the weights after an update, counted from 1.

        The first ones leave less of the mean, by (1 + step) / (10 + step): else a run of fewer
        updates than the mean is long would deliver the weights that it began with.
        """
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        now = trained_weights(self._model)
        torch._foreach_lerp_(list(self.weights.values()), list(now.values()), share)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model have the mean for its weights inside the block."""
        with in_use(self.weights, self._model):
            yield


@contextmanager
def in_use(weights: Weights, model: nn.Module) -> Iterator[None]:
    """Let a model have other weights inside the block, and the very same ones again after it."""
    own = {name: tensor.clone() for name, tensor in trained_weights(model).items()}
    put_in(weights, model)
    try:
        yield
    finally:
        put_in(own, model)


@torch.no_grad()
def put_in(weights: Weights, model: nn.Module) -> None:
    """Give a model's trained weights these values, in place: the optimizer's copies see that."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(weights[name])


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights by name, tied ones once."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
