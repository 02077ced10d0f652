"""The loss at real positions only, computed inside the model's own forward.

A hook on the output layer takes the hidden states, keeps the real positions and computes loss
and gradients in chunks, so that no more than a chunk's logits (tokens × vocabulary) exist at a
time. It works inside whatever wraps the model (DDP, FSDP, adapters), because it is part of the
forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.kernels import kernels_for, numbers_in_caches
from attuner.models.layout import Packed, num_filling
from attuner.models.r_drop import paired_cross_entropy, twins

IGNORED = -100
# Logits that are held at a time: in bf16 128 MB.
_MAX_LOGITS = 2**26
# What transformers calls the embeddings that multiply by their `embed_scale`: BART's and others'.
_SCALED = "ScaledWordEmbedding"


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
        lookups: Lookups,
        r_drop: float = 0.0,
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
            lookups: Embeddings that share `weight`, and add their gradients to this one's.
            r_drop: Above 0, neighbouring rows are twins, and this is the weight of what they
                differ by; see `models.r_drop`.

        Returns:
            The loss, a scalar, fp32, in nats.
        """
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]  # a frozen weight needs none
        needs_grad = needs_hidden or needs_weight
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight: Tensor | None = None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = hidden[rows] @ weight.t()
            if r_drop:
                loss, grad = paired_cross_entropy(
                    logits, bias, labels[rows],
                    ignored=IGNORED, smoothing=smoothing, alpha=r_drop, with_grad=needs_grad,
                )  # fmt: skip
            else:
                loss, grad = _cross_entropy(logits, bias, labels[rows], smoothing, needs_grad)
            total += loss
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[rows])
            if not needs_weight:
                continue
            part = grad.t() @ hidden[rows]
            if len(hidden) <= chunk:
                grad_weight = part
            elif grad_weight is None:
                grad_weight = part.float()  # a sum over chunks: in bf16 small terms would be lost
            else:
                grad_weight += part
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.lookups = lookups
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Scale the gradients found in the forward pass, in place: they are used once."""
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad.device.type != "cpu" or grad != 1:  # elsewhere, to look would be to wait
            for found in (grad_hidden, grad_weight):
                if found is not None:
                    found.mul_(grad)
        if grad_weight is not None:
            ctx.lookups.collect(grad_weight)
        return grad_hidden, grad_weight, None, None, None, None, None, None


def _cross_entropy(
    logits: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float, with_grad: bool
) -> tuple[Tensor, Tensor]:
    """The summed loss of a chunk, and its gradient by the logits, which are spoilt; (N, V)."""
    kernels = kernels_for(logits)
    if kernels is not None:
        losses = kernels.cross_entropy_(
            logits,
            labels.contiguous(),
            None if bias is None else bias.float().contiguous(),
            ignored=IGNORED,
            smoothing=smoothing,
            with_grad=with_grad,
        )
        return losses.sum(), logits
    total = torch.zeros((), dtype=torch.float32, device=logits.device)
    is_on_processor = logits.device.type == "cpu"
    rows = max(1, numbers_in_caches() // logits.shape[1] if is_on_processor else len(logits))
    for block, some in zip(torch.split(logits, rows), torch.split(labels, rows), strict=True):
        if bias is None:
            logs = block.log_softmax(1, dtype=torch.float32)
        else:
            logs = (block.float() + bias).log_softmax(1)
        real = some[:, None] != IGNORED
        target = some[:, None].clamp(min=0)
        total -= (logs.gather(1, target) * real).sum() * (1 - smoothing)
        if smoothing:
            total -= (logs.mean(1, keepdim=True) * real).sum() * smoothing
        if with_grad:
            grad = logs.exp_()
            if smoothing:
                grad -= smoothing / grad.shape[1]
            grad.scatter_add_(1, target, grad.new_full(target.shape, smoothing - 1))
            block.copy_(grad.mul_(real))
    return total, logits


class Lookups:
    """The embedding lookups of one forward whose weight is the output layer's, too.

    Each would make a gradient of the vocabulary's full size, for autograd to add up. Instead
    each adds its few rows to the output layer's gradient, which the backward pass makes first.
    """

    def __init__(self) -> None:
        self._pending = 0
        self._grad: Tensor | None = None

    def expect(self) -> None:
        """Count a lookup that will add its rows."""
        self._pending += 1

    def collect(self, grad: Tensor) -> None:
        """Take the output layer's gradient, (V, D), until the last lookup has added to it."""
        self._grad = grad if self._pending else None

    def add(self, rows: Tensor, ids: Tensor) -> None:
        """Add gradients (U, D) of the embedding's rows `ids` (U,), each id once."""
        assert self._grad is not None
        self._grad[ids] += rows.to(self._grad.dtype)
        self._pending -= 1
        if not self._pending:  # autograd takes the tensor over only where nobody else holds it
            self._grad = None


class _Lookup(torch.autograd.Function):
    """Embedding lookup, (...) ids → (..., D), whose gradient goes through `Lookups`."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, lookups: Lookups
    ) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.padding, ctx.lookups = padding, lookups
        lookups.expect()
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        (ids,) = ctx.saved_tensors
        unique, places = ids.view(-1).unique(return_inverse=True)
        rows = grad.new_zeros(len(unique), grad.shape[-1], dtype=torch.float32)
        rows.index_add_(0, places, grad.reshape(-1, grad.shape[-1]).float())
        if ctx.padding is not None:
            rows[unique == ctx.padding] = 0
        ctx.lookups.add(rows, unique)
        return None, None, None, None


@contextmanager
def loss_in_forward(model: nn.Module, *, keeps_padding: bool = False) -> Iterator[None]:
    """Let `model` take `targets=`, `label_smoothing=` and `r_drop=`, and return the summed loss.

    Inside the block `model(..., targets=labels).loss` is the sum (not the mean) of the
    cross-entropies over the positions of `labels` (B, T) that are not -100, and `logits` is
    empty. With `r_drop` above 0, each sequence is followed by its copy, and both count once. On
    leaving, the model is as it was.

    Args:
        model: The bare model.
        keeps_padding: Compute at all positions, which count nothing where labels are -100: no
            tensor's shape depends on the labels then. Not with `r_drop`.

    Raises:
        TypeError: The output layer is not a plain linear one, but wrapped by an adapter.
    """
    call: dict[str, Any] = {}
    output_layer: Any = model.get_output_embeddings()  # type: ignore[operator]
    if type(output_layer) is not nn.Linear:  # its weight would not be all that it computes
        raise TypeError(f"the output layer is a {type(output_layer).__name__}, not nn.Linear")

    def take_targets(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        call["targets"] = kwargs.pop("targets")
        call["smoothing"] = kwargs.pop("label_smoothing", 0.0)
        call["r_drop"] = kwargs.pop("r_drop", 0.0)
        call["lookups"] = Lookups()
        call["packed"] = kwargs.get("packed")
        return args, kwargs

    def look_up(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        is_shared = _is_trained(layer.weight) and layer.weight is output_layer.weight
        if not is_shared or keeps_padding:
            return output
        found: Tensor = _Lookup.apply(  # type: ignore[no-untyped-call]
            layer.weight, args[0], layer.padding_idx, call["lookups"]
        )
        scale = 1.0 if type(layer) is nn.Embedding else layer.embed_scale
        return found if scale == 1 else found * scale

    def compute(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden, targets = args[0], call["targets"]
        chunk = max(1, _MAX_LOGITS // len(layer.weight))  # type: ignore[arg-type]
        if call["r_drop"]:
            rows, targets = _paired(hidden, targets, call["packed"])
            chunk = max(2, chunk // 8 * 2)  # some copies in fp32 are held at a time, too
        else:
            rows, targets = hidden.flatten(0, 1), targets.flatten()
            if call["packed"] is None and not keeps_padding:
                rows, targets = _real(rows, targets)
        weight: Any = layer.weight
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
            rows, weight = rows.to(dtype), weight.to(dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            call["loss"] = LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
                rows, weight, _bias(model, layer), targets, call["smoothing"],
                chunk, call["lookups"], call["r_drop"],
            )  # fmt: skip
        return (hidden[:, :0],)

    def hand_out(_: nn.Module, __: Any, output: Any) -> Any:
        output["loss"] = call.pop("loss")
        return output

    hooks = [
        model.register_forward_pre_hook(take_targets, with_kwargs=True),
        output_layer.register_forward_pre_hook(compute),
        # Before the hook of a sharded model, which watches what the backward pass begins with.
        model.register_forward_hook(hand_out, prepend=True),
        *(
            module.register_forward_hook(look_up)
            for module in model.modules()
            if _looks_up_words(module)
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _real(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (N, D) and targets (N,) of real positions, filled up as packed rows are."""
    kept = targets != IGNORED
    return _filled_up(hidden[kept], targets[kept])


def _paired(hidden: Tensor, targets: Tensor, packed: Packed | None) -> tuple[Tensor, Tensor]:
    """Hidden states (B, T, D) and targets (B, T) as rows, each token followed by its copy."""
    hidden, kept = hidden.flatten(0, 1), targets != IGNORED
    lengths = kept.sum(1) if packed is None else packed.target_lengths.to(targets.device)
    order = kept.flatten().nonzero().view(-1)[twins(lengths)]
    return _filled_up(hidden.index_select(0, order), targets.flatten()[order])


def _filled_up(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    filling = num_filling(len(targets))
    return F.pad(hidden, (0, 0, 0, filling)), F.pad(targets, (0, filling), value=IGNORED)


def _looks_up_words(module: nn.Module) -> bool:
    """Whether it is a plain embedding, or one of those that scale what they look up."""
    is_scaled = isinstance(module, nn.Embedding) and type(module).__name__.endswith(_SCALED)
    return type(module) is nn.Embedding or is_scaled


def _is_trained(weight: Tensor) -> bool:
    """Whether gradients are wanted and go straight to the weight, not to a copy by autocast."""
    return (
        weight.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled(weight.device.type)
    )


def _bias(model: nn.Module, output_layer: nn.Module) -> Tensor | None:
    """What the model adds to its logits, (V,): the layer's own bias or Marian's and BART's."""
    bias: Any = getattr(output_layer, "bias", None)
    if bias is None:
        bias = getattr(model, "final_logits_bias", None)
    return bias.view(-1) if bias is not None and bool(bias.any()) else None
