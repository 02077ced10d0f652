"""Own kernels for training on a processor: optional, with the same results as torch's operations.

They are there where a C++ compiler is found and `ATTUNER_KERNELS` is not `none`. `kernels_for`
gives them to callers whose tensors they can take; with None, torch's operations serve.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Numbers that a core's cache holds: in fp32 1 MB.
_CACHED = 2**18
# The types that the kernels are there for, and what kernels.cpp calls them.
_TYPES = {torch.float32: "float", torch.bfloat16: "bf16"}


@cache
def native() -> Kernels | None:
    """The kernels, compiled for this processor at their first use; None where there are none."""
    from attuner.kernels.build import load_library

    if os.environ.get("ATTUNER_KERNELS", "auto") == "none":
        return None
    library = load_library()
    return None if library is None else Kernels(library)


def kernels_for(*tensors: Tensor) -> Kernels | None:
    """The kernels, if they are there and can take these tensors.

    They take contiguous tensors on the processor, all in bf16 or all in fp32.
    """
    dtype = tensors[0].dtype
    fit = dtype in _TYPES and all(
        tensor.device.type == "cpu" and tensor.dtype == dtype and tensor.is_contiguous()
        for tensor in tensors
    )
    return native() if fit else None


def numbers_in_caches() -> int:
    """Numbers in fp32 that the caches of a processor's cores hold together.

    Where there are no kernels, torch's operations on a processor are given so many at a time: it
    is the way to and from memory that takes the time.
    """
    return _CACHED * torch.get_num_threads()


def describe(device: str) -> str:
    """Which kernels a run on this device uses, in words; "" where there is no choice."""
    if device != "cpu":
        return ""
    if native() is not None:
        return "native kernels"
    switched_off = os.environ.get("ATTUNER_KERNELS", "auto") == "none"
    why = "ATTUNER_KERNELS=none" if switched_off else "no C++ compiler that builds ours"
    return f"torch's kernels ({why})"


class _Packed(ctypes.Structure):
    """`Packed` of kernels.cpp."""

    _fields_ = (
        ("query_starts", ctypes.c_void_p),
        ("key_starts", ctypes.c_void_p),
        ("sequences", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("head_size", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("causal", ctypes.c_int),
    )


_P, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cross_entropy": (_P, _P, _P, _P, _I, _I, _I, _F, ctypes.c_int),
    "adamw": (_P, _P, _P, _P, _P, _I, *(_F,) * 8),
    "sum_of_squares": (_P, _I),
    "dropout": (_P, _P, _I, _I, _F),
    "attention_forward": (_P, _P, _P, _P, _P, ctypes.POINTER(_Packed), _I, _F),
    "attention_backward": (*(_P,) * 9, ctypes.POINTER(_Packed), _I, _F),
}


class Kernels:
    """The functions of kernels.cpp on tensors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions: dict[tuple[str, torch.dtype], Any] = {}
        for name, arguments in _SIGNATURES.items():
            for dtype, kind in _TYPES.items():
                function = getattr(library, f"{name}_{kind}")
                function.argtypes = arguments
                function.restype = ctypes.c_double if name == "sum_of_squares" else None
                self._functions[name, dtype] = function

    def cross_entropy_(
        self,
        logits: Tensor,
        labels: Tensor,
        bias: Tensor | None,
        *,
        ignored: int,
        smoothing: float,
        with_grad: bool,
    ) -> Tensor:
        """Cross-entropy of each row; the logits become the gradient of their sum, in place.

        Args:
            logits: (N, V).
            labels: (N,) int64.
            bias: (V,) fp32, added to the logits, or None.
            ignored: The label whose rows count nothing.
            smoothing: Share of the target spread over the vocabulary.
            with_grad: Whether the gradient is wanted; the logits are spoilt either way.

        Returns:
            (N,) fp32, in nats.
        """
        losses = logits.new_empty(len(logits), dtype=torch.float32)
        self._call(
            "cross_entropy", logits.dtype, logits.data_ptr(), labels.data_ptr(),
            None if bias is None else bias.data_ptr(), losses.data_ptr(), *logits.shape,
            ignored, smoothing, with_grad,
        )  # fmt: skip
        return losses

    def adamw_(
        self,
        weights: Tensor,
        grad: Tensor,
        mean: Tensor,
        square: Tensor,
        copy: Tensor | None,
        *,
        rate: float,
        betas: tuple[float, float],
        eps: float,
        decay: float,
        step: int,
        grad_scale: float,
    ) -> None:
        """One AdamW update of fp32 `weights` and their moments, in place, and of their bf16 `copy`.

        Args:
            weights: fp32.
            grad: bf16 or fp32.
            mean: First moment, fp32.
            square: Second moment, fp32.
            copy: The weights in bf16, or None.
            rate: Learning rate.
            betas: Decay of the moments.
            eps: Added to the root of the second moment.
            decay: Decoupled weight decay.
            step: Number of this update, from 1.
            grad_scale: Factor of the gradient.
        """
        beta1, beta2 = betas
        self._call(
            "adamw", grad.dtype, weights.data_ptr(), grad.data_ptr(), mean.data_ptr(),
            square.data_ptr(), None if copy is None else copy.data_ptr(), weights.numel(), rate,
            beta1, beta2, eps, decay, 1 - beta1**step, 1 - beta2**step, grad_scale,
        )  # fmt: skip

    def sum_of_squares(self, tensor: Tensor) -> float:
        """Sum of the squares of all elements."""
        return float(self._call("sum_of_squares", tensor.dtype, tensor.data_ptr(), tensor.numel()))

    def dropout(self, tensor: Tensor, *, share: float, seed: int) -> Tensor:
        """`tensor` with that share of its numbers zero and the others scaled up.

        The same seed drops the same places: the gradient is `dropout(grad, ...)`.
        """
        output = tensor.new_empty(tensor.shape)
        self._call(
            "dropout", tensor.dtype, tensor.data_ptr(), output.data_ptr(), tensor.numel(),
            seed, share,
        )  # fmt: skip
        return output

    def attention_forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_starts: Tensor,
        key_starts: Tensor,
        *,
        causal: bool,
        scale: float,
        dropout: float,
        seed: int,
    ) -> tuple[Tensor, Tensor]:
        """Attention of packed sequences, each on its own.

        Args:
            query: (T, H, D).
            key: (S, H, D).
            value: (S, H, D).
            query_starts: Where sequences begin in `query`, and the end of the last, (B + 1,) int32.
            key_starts: The same for `key` and `value`.
            causal: Whether a query sees no key after its own place.
            scale: Factor of the scores.
            dropout: Share of weights that are dropped.
            seed: Of dropout.

        Returns:
            Output (T, H, D), zero behind the last sequence, and what backward wants, (H, T).
        """
        output = _zero_behind(query, query_starts)
        norms = query.new_empty(query.shape[1], query.shape[0], dtype=torch.float32)
        self._call(
            "attention_forward", query.dtype, query.data_ptr(), key.data_ptr(), value.data_ptr(),
            output.data_ptr(), norms.data_ptr(),
            _packed(query, query_starts, key_starts, causal, scale), seed, dropout,
        )  # fmt: skip
        return output, norms

    def attention_backward(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        output: Tensor,
        norms: Tensor,
        query_starts: Tensor,
        key_starts: Tensor,
        *,
        causal: bool,
        scale: float,
        dropout: float,
        seed: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value; arguments as in the forward pass."""
        grads = (
            _zero_behind(query, query_starts),
            _zero_behind(key, key_starts),
            _zero_behind(value, key_starts),
        )
        self._call(
            "attention_backward", query.dtype, grad.data_ptr(), query.data_ptr(), key.data_ptr(),
            value.data_ptr(), output.data_ptr(), norms.data_ptr(),
            *(tensor.data_ptr() for tensor in grads),
            _packed(query, query_starts, key_starts, causal, scale), seed, dropout,
        )  # fmt: skip
        return grads

    def _call(self, name: str, dtype: torch.dtype, *arguments: Any) -> Any:
        return self._functions[name, dtype](*arguments)


def _zero_behind(like: Tensor, starts: Tensor) -> Tensor:
    """Room for a result, (T, H, D), zero behind the last sequence."""
    made = like.new_empty(like.shape)
    made[int(starts[-1]) :] = 0
    return made


def _packed(
    query: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    causal: bool,
    scale: float,
) -> Any:
    num_queries, heads, size = query.shape
    return ctypes.byref(
        _Packed(
            query_starts.data_ptr(), key_starts.data_ptr(), len(query_starts) - 1, heads, size,
            num_queries, scale, causal,
        )
    )  # fmt: skip
