"""AdamW on fp32 weights, of which forward and backward may use bf16 copies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as torch_adamw

from attuner.kernels import kernels_for, numbers_in_caches


class AdamW(torch.optim.Optimizer):
    """AdamW with bias correction (Loshchilov and Hutter 2019), fused, clipping included.

    The weights in the model are fp32 at all times but inside `computing()`: there they are bf16
    copies, if `computes_in` says so. What an update adds is kept in fp32, where bf16 would lose
    it (Micikevicius et al. 2018); a copy is its weight rounded, so that it is no state.

    Args:
        groups: Parameters and their options, as torch's optimizers take them.
        learning_rate: May be changed in `param_groups` at any time.
        computes_in: Type of the copies; None where the weights themselves are used.
        frozen: Parameters that are not trained, but are to be of the same type in `computing()`.

    >>> layer = torch.nn.Linear(3, 2)
    >>> groups = [{"params": layer.parameters()}]
    >>> optimizer = AdamW(groups, learning_rate=0.1, computes_in=torch.bfloat16)
    >>> with optimizer.computing():
    ...     layer(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
    >>> layer.weight.dtype, optimizer.gradient(layer.weight).dtype
    (torch.float32, torch.bfloat16)
    >>> optimizer.step()
    >>> optimizer.zero_grad()
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        computes_in: torch.dtype | None = None,
        frozen: Iterable[nn.Parameter] = (),
    ) -> None:
        super().__init__(
            groups, {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": 0.0}
        )
        self._grads: dict[nn.Parameter, Tensor] = {}
        self._grad_scale = 1.0
        self._copies: dict[nn.Parameter, Tensor] = {}
        if computes_in is not None:
            parameters = (*self.trained(), *frozen)
            self._copies = {p: p.detach().to(computes_in) for p in parameters}
        self._versions = {parameter: parameter._version for parameter in self._copies}

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Put the copies into the model; gradients made inside are kept for `step`."""
        weights = {parameter: parameter.data for parameter in self._copies}
        for parameter, copy in self._copies.items():
            if parameter._version != self._versions[parameter]:  # others loaded weights into it
                self._renew(parameter)
            parameter.data = copy
        try:
            yield
            self.collect()
        finally:
            for parameter, weight in weights.items():
                parameter.grad = None
                parameter.data = weight

    def collect(self) -> None:
        """Take the gradient of a micro-batch out of the copies, adding up in fp32."""
        for parameter in self._copies:
            grad, parameter.grad = parameter.grad, None
            if grad is None:
                continue
            before = self._grads.get(parameter)
            if before is None:
                self._grads[parameter] = grad
            else:
                self._grads[parameter] = before.float().add_(grad)

    def trained(self) -> Iterator[nn.Parameter]:
        """The parameters, in a fixed order."""
        for group in self.param_groups:
            yield from group["params"]

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """The gradient that a parameter has by now, in the type that it was computed in."""
        return self._grads.get(parameter, parameter.grad)

    def put_gradient(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Let a parameter have another gradient, fp32."""
        if parameter in self._copies:
            self._grads[parameter] = gradient
        else:
            parameter.grad = gradient

    def clip(self, max_norm: float, *, scale: float = 1.0) -> float:
        """The norm of the whole gradient; the next step scales it down to at most `max_norm`.

        Args:
            max_norm: The limit.
            scale: Factor of the gradient, for norm and step.
        """
        norms = [_norm(grad) for grad in self._gradients()]
        norm = scale * float(torch.linalg.vector_norm(torch.stack(norms)))
        self._grad_scale = scale * min(1.0, max_norm / (norm + 1e-6))
        return norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights and their copies by the gradient, and forget it."""
        assert closure is None
        for group in self.param_groups:
            plain = [p for p in group["params"] if not self._update_natively(p, group)]
            for parameter in plain:
                if parameter in self._copies:
                    self._update_in_blocks(parameter, group)
            self._update([p for p in plain if p not in self._copies], group)
        self._grad_scale = 1.0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient."""
        self._grads.clear()
        super().zero_grad(set_to_none)

    def _update_natively(self, parameter: nn.Parameter, group: dict[str, Any]) -> bool:
        """Update a weight and its copy in one go, where there are kernels for them."""
        grad, copy = self.gradient(parameter), self._copies.get(parameter)
        if grad is None or kernels_for(grad) is None:
            return False
        if copy is not None and (copy.dtype != torch.bfloat16 or kernels_for(copy) is None):
            return False
        state = self._state(parameter)
        weight, mean, square = parameter.detach(), state["exp_avg"], state["exp_avg_sq"]
        kernels = kernels_for(weight, mean, square) if weight.dtype == torch.float32 else None
        if kernels is None:
            return False
        state["step"] += 1
        kernels.adamw_(
            weight, grad, mean, square, copy,
            rate=group["lr"], betas=group["betas"], eps=group["eps"],
            decay=group["weight_decay"], step=int(state["step"]), grad_scale=self._grad_scale,
        )  # fmt: skip
        return True

    def _update(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        """Update weights by torch's own fused AdamW; those without a gradient stay."""
        found = [(p, grad) for p in parameters if (grad := self.gradient(p)) is not None]
        if found:
            states = [self._state(parameter) for parameter, _ in found]
            self._fused(
                [parameter.detach() for parameter, _ in found],
                [grad for _, grad in found],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["step"] for state in states],
                group,
            )

    def _update_in_blocks(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        """The same of a weight and its copy, block by block: no gradient is whole in fp32."""
        grad = self.gradient(parameter)
        if grad is None:
            return
        state = self._state(parameter)
        weight, copy = parameter.detach(), self._copies[parameter]
        whole = (weight, grad, state["exp_avg"], state["exp_avg_sq"], copy)
        for part, its_grad, mean, square, its_copy in zip(*_blocks(*whole), strict=True):
            step = state["step"].clone()
            self._fused([part], [its_grad], [mean], [square], [step], group)
            its_copy.copy_(part)
        state["step"] += 1
        self._versions[parameter] = parameter._version

    def _fused(
        self,
        weights: list[Tensor],
        grads: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[Tensor],
        group: dict[str, Any],
    ) -> None:
        """Torch's own fused AdamW, on gradients that are scaled first."""
        scale = self._grad_scale
        torch_adamw(
            weights,
            [grad.float() if scale == 1 else grad.float() * scale for grad in grads],
            means,
            squares,
            [],
            steps,
            fused=True, amsgrad=False, maximize=False, lr=group["lr"],
            beta1=group["betas"][0], beta2=group["betas"][1], eps=group["eps"],
            weight_decay=group["weight_decay"],
        )  # fmt: skip

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _renew(self, parameter: nn.Parameter) -> None:
        """Make a copy equal to its weight again."""
        self._copies[parameter].copy_(parameter.detach())
        self._versions[parameter] = parameter._version

    def _gradients(self) -> Iterator[Tensor]:
        for parameter in self.trained():
            grad = self.gradient(parameter)
            if grad is not None:
                yield grad


def _norm(grad: Tensor) -> Tensor:
    """The norm of one gradient, a scalar, summed in fp32 or better."""
    kernels = kernels_for(grad)
    if kernels is not None:
        return torch.tensor(math.sqrt(kernels.sum_of_squares(grad)))
    norms = [torch.linalg.vector_norm(block, dtype=torch.float32) for block in _blocks(grad)[0]]
    norm: Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return norm


def _blocks(*tensors: Tensor) -> list[Sequence[Tensor]]:
    """Tensors of one size in pieces, on a processor such that each stays in the cache."""
    if all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors):
        return [torch.split(tensor.view(-1), numbers_in_caches()) for tensor in tensors]
    return [[tensor] for tensor in tensors]
