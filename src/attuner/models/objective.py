"""The loss at real positions only, computed inside the model's own forward.

A hook on the output layer takes the hidden states, keeps the real positions and computes loss
and gradients in chunks, so that the (tokens × vocabulary) logits never exist as a whole. It
works inside whatever wraps the model (DDP, FSDP, adapters), because it is part of the forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.models.packing import ROW_MULTIPLE, filled_up

IGNORED = -100


class LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of `hidden @ weight.T + bias` against `labels`.

    Both gradients are computed chunk by chunk in the forward pass, while the chunk's logits are
    at hand; the backward pass only scales them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        chunk: int,
    ) -> Tensor:
        """Compute the loss.

        Args:
            ctx: Of autograd.
            hidden: (N, D), in the precision of the matrix products.
            weight: (V, D), likewise.
            bias: (V,), not trained, or None.
            labels: (N,) int64; rows with -100 count nothing.
            smoothing: Share of the target spread evenly over the vocabulary (Szegedy et al. 2016).
            chunk: Rows of logits to hold at a time.

        Returns:
            The loss, a scalar, fp32, in nats.
        """
        needs_grad = any(ctx.needs_input_grad)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        # The gradient is summed over chunks: in fp32, else small ones would be lost.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = (hidden[rows] @ weight.t()).float()
            if bias is not None:
                logits += bias
            real = labels[rows, None] != IGNORED
            target = labels[rows, None].clamp(min=0)
            norm = logits.logsumexp(1, keepdim=True)
            total += ((norm - logits.gather(1, target)) * real).sum() * (1 - smoothing)
            if smoothing:
                total += ((norm - logits.mean(1, keepdim=True)) * real).sum() * smoothing
            if grad_hidden is None or grad_weight is None:
                continue
            grad = logits.sub_(norm).exp_()
            if smoothing:
                grad -= smoothing / logits.shape[1]
            grad.scatter_add_(1, target, grad.new_full(target.shape, smoothing - 1))
            grad = grad.mul_(real).to(hidden.dtype)
            torch.mm(grad, weight, out=grad_hidden[rows])
            grad_weight += grad.t() @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Scale the gradients found in the forward pass."""
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), grad_weight * grad, None, None, None, None


@contextmanager
def loss_in_forward(model: nn.Module, *, chunk: int = 1024) -> Iterator[None]:
    """Let `model` take `targets=` and `label_smoothing=`, and return the summed loss.

    Inside the block `model(..., targets=labels).loss` is the sum (not the mean) of the
    cross-entropies over the positions of `labels` (B, T) that are not -100, and `logits` is
    empty. On leaving, the model is as it was.
    """
    call: dict[str, Any] = {}
    output_layer = model.get_output_embeddings()  # type: ignore[operator]

    def take_targets(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        call["targets"] = kwargs.pop("targets")
        call["smoothing"] = kwargs.pop("label_smoothing", 0.0)
        return args, kwargs

    def compute(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden, targets = args[0], call["targets"]
        kept = targets != IGNORED
        rows, targets = hidden[kept], targets[kept]
        # To a multiple again, for the same reason as packed rows.
        rows = F.pad(rows, (0, 0, 0, -len(rows) % ROW_MULTIPLE))
        targets = filled_up(targets, IGNORED)
        weight = layer.weight
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
            rows, weight = rows.to(dtype), weight.to(dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            call["loss"] = LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
                rows, weight, _bias(model, layer), targets, call["smoothing"], chunk
            )
        return (hidden[:, :0],)

    def hand_out(_: nn.Module, __: Any, output: Any) -> Any:
        output.loss = call.pop("loss")
        return output

    hooks = [
        model.register_forward_pre_hook(take_targets, with_kwargs=True),
        output_layer.register_forward_pre_hook(compute),
        model.register_forward_hook(hand_out),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _bias(model: nn.Module, output_layer: nn.Module) -> Tensor | None:
    """What the model adds to its logits, (V,): the layer's own bias or Marian's and BART's."""
    bias: Any = getattr(output_layer, "bias", None)
    if bias is None:
        bias = getattr(model, "final_logits_bias", None)
    return bias.view(-1) if bias is not None and bool(bias.any()) else None
