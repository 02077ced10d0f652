"""Each kernel against torch's own operations, in fp32 and bf16."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from attuner.kernels import Kernels, kernels_for, native

TYPES = [torch.float32, torch.bfloat16]
# Rounding of a single result; bf16 keeps 8 bits.
TOLERANCE: dict[torch.dtype, dict[str, float]] = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-6},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}
LENGTHS, KEY_LENGTHS = [3, 1, 17, 8], [5, 2, 9, 8]


@pytest.fixture
def kernel() -> Kernels:
    found = native()
    if found is None:
        pytest.skip("no C++ compiler for the kernels here")
    return found


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_cross_entropy_and_its_gradient(
    kernel: Kernels, dtype: torch.dtype, smoothing: float, with_bias: bool
) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(7, 101) * 3).to(dtype)
    bias = torch.randn(101) if with_bias else None
    labels = torch.randint(101, (7,))
    labels[4] = -100
    exact = logits.float().requires_grad_()
    expected = F.cross_entropy(
        exact if bias is None else exact + bias, labels,
        label_smoothing=smoothing, reduction="none", ignore_index=-100,
    )  # fmt: skip
    expected.sum().backward()

    losses = kernel.cross_entropy_(
        logits, labels, bias, ignored=-100, smoothing=smoothing, with_grad=True
    )

    torch.testing.assert_close(losses, expected.detach(), **TOLERANCE[dtype])
    torch.testing.assert_close(logits.float(), exact.grad, **TOLERANCE[dtype])
    assert not logits[4].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_makes_a_loss_that_is_none(kernel: Kernels, bad: float) -> None:
    logits = torch.zeros(2, 40)
    logits[1, 7] = bad
    losses = kernel.cross_entropy_(
        logits, torch.tensor([1, 2]), None, ignored=-100, smoothing=0.0, with_grad=True
    )

    assert losses[0].isfinite()
    assert not losses[1].isfinite()


def attend(
    rows: list[torch.Tensor], starts: list[list[int]], causal: bool, scale: float
) -> torch.Tensor:
    """Sequence by sequence with torch's own attention; (T, H, D) each."""
    outputs = []
    for (q0, q1), (k0, k1) in zip(pairwise(starts[0]), pairwise(starts[1]), strict=True):
        query, key, value = (
            rows[i][a:b].transpose(0, 1) for i, a, b in ((0, q0, q1), (1, k0, k1), (2, k0, k1))
        )
        output = F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale)
        outputs.append(output.transpose(0, 1))
    return torch.cat(outputs)


def starts_of(lengths: list[int]) -> list[int]:
    return F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).tolist()


def packed(dtype: torch.dtype, causal: bool) -> tuple[list[torch.Tensor], list[list[int]]]:
    torch.manual_seed(1)
    starts = [starts_of(LENGTHS), starts_of(LENGTHS if causal else KEY_LENGTHS)]
    sizes = [starts[0][-1], starts[1][-1], starts[1][-1]]
    return [torch.randn(size, 4, 24).to(dtype) for size in sizes], starts


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("causal", [True, False])
def test_attention_and_its_gradients(kernel: Kernels, dtype: torch.dtype, causal: bool) -> None:
    rows, starts = packed(dtype, causal)
    exact = [row.float().requires_grad_() for row in rows]
    expected = attend(exact, starts, causal, 0.2)
    grad = torch.randn(expected.shape)
    wanted = torch.autograd.grad(expected, exact, grad)

    at = [torch.tensor(start, dtype=torch.int32) for start in starts]
    options: dict[str, Any] = {"causal": causal, "scale": 0.2, "dropout": 0.0, "seed": 0}
    output, norms = kernel.attention_forward(*rows, *at, **options)
    found = kernel.attention_backward(grad.to(dtype), *rows, output, norms, *at, **options)

    tolerance = TOLERANCE[dtype] if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    torch.testing.assert_close(output.float(), expected.detach(), **tolerance)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.float(), want, **tolerance)


def test_places_behind_the_last_sequence_are_zero(kernel: Kernels) -> None:
    rows = [torch.randn(6, 2, 8) for _ in range(3)]
    starts = torch.tensor([0, 2, 4], dtype=torch.int32)
    options: dict[str, Any] = {"causal": True, "scale": 1.0, "dropout": 0.0, "seed": 0}
    output, norms = kernel.attention_forward(*rows, starts, starts, **options)
    grads = kernel.attention_backward(
        torch.ones(6, 2, 8), *rows, output, norms, starts, starts, **options
    )

    assert all(not tensor[4:].any() for tensor in (output, *grads))


def test_attention_dropout_has_the_gradient_of_what_it_did(kernel: Kernels) -> None:
    """By small differences: the same seed drops the same weights, so the output is smooth."""
    torch.manual_seed(2)
    rows = [torch.randn(9, 1, 4) for _ in range(3)]
    starts = torch.tensor([0, 9], dtype=torch.int32)
    options: dict[str, Any] = {"causal": False, "scale": 0.5, "dropout": 0.3, "seed": 7}
    output, norms = kernel.attention_forward(*rows, starts, starts, **options)
    whole, _ = kernel.attention_forward(*rows, starts, starts, **{**options, "dropout": 0.0})
    grads = kernel.attention_backward(
        torch.ones(9, 1, 4), *rows, output, norms, starts, starts, **options
    )

    assert (output - whole).abs().max() > 0.1
    for which, grad in enumerate(grads):
        direction, step = torch.randn(9, 1, 4), 1e-2
        moved = []
        for sign in (step, -step):
            there = [row + sign * direction * (i == which) for i, row in enumerate(rows)]
            moved.append(kernel.attention_forward(*there, starts, starts, **options)[0].sum())
        slope = (moved[0] - moved[1]) / (2 * step)
        assert slope.item() == pytest.approx((grad * direction).sum().item(), rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("dtype", TYPES)
def test_dropout_drops_its_share_and_scales_the_rest(kernel: Kernels, dtype: torch.dtype) -> None:
    ones = torch.ones(200_000, dtype=dtype)
    output = kernel.dropout(ones, share=0.1, seed=3)
    dropped = output == 0

    assert 0.098 < dropped.float().mean() < 0.102
    torch.testing.assert_close(output[~dropped], ones[~dropped] / 0.9, **TOLERANCE[dtype])
    # Neighbours do not go together: both of a pair are dropped in a share of 0.1².
    assert 0.009 < (dropped[1:] & dropped[:-1]).float().mean() < 0.011
    assert torch.equal(kernel.dropout(ones, share=0.1, seed=3), output)
    assert not torch.equal(kernel.dropout(ones, share=0.1, seed=4), output)


@pytest.mark.parametrize("dtype", TYPES)
def test_sum_of_squares(kernel: Kernels, dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    tensor = torch.randn(100_003).to(dtype)

    exact = float(tensor.double().square().sum())
    assert kernel.sum_of_squares(tensor) == pytest.approx(exact, rel=1e-5)


def test_only_contiguous_tensors_of_one_type_are_taken(kernel: Kernels) -> None:
    square = torch.zeros(3, 4)

    assert kernels_for(square, square.clone()) is kernel
    assert kernels_for(square.t()) is None
    assert kernels_for(square, square.bfloat16()) is None
    assert kernels_for(square.half()) is None
