"""Dropout by own kernels: no mask is drawn number by number, and none is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from attuner.kernels import Kernels, kernels_for


class FastDropout(TorchFunctionMode):
    """Inside the block `torch.nn.functional.dropout` uses the kernels, where these are.

    What is dropped follows from torch's random state, as ever, but not in torch's own order.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer for one torch function."""
        if func is F.dropout:
            return _dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, kernels: Kernels, share: float, seed: int) -> Tensor:
        ctx.kernels, ctx.options = kernels, {"share": share, "seed": seed}
        return kernels.dropout(tensor, **ctx.options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.kernels.dropout(grad.contiguous(), **ctx.options), None, None, None


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return input
    kernels = None if inplace or p >= 1 else kernels_for(input)
    if kernels is None:
        return F.dropout(input, p, training, inplace)
    seed = int(torch.randint(2**31, ()))
    dropped: Tensor = _Dropout.apply(input, kernels, p, seed)  # type: ignore[no-untyped-call]
    return dropped
