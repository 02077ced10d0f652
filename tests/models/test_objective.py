from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from attuner.models.objective import LinearCrossEntropy, Lookups


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_loss_and_gradients_do_not_depend_on_chunks(
    chunk: int, smoothing: float, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.kernels._CACHED", 100)  # a few rows of logits
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, requires_grad=True)
    weight = torch.randn(50, 16, requires_grad=True)
    bias = torch.randn(50) if with_bias else None
    labels = torch.randint(50, (23,))
    labels[[3, 20]] = -100

    expected = cross_entropy(
        linear(hidden, weight, bias), labels, label_smoothing=smoothing, reduction="sum"
    )
    wanted = torch.autograd.grad(expected * 0.5, (hidden, weight))
    loss = LinearCrossEntropy.apply(hidden, weight, bias, labels, smoothing, chunk, Lookups())
    found = torch.autograd.grad(loss * 0.5, (hidden, weight))

    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_bf16_stays_near_fp32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 32), torch.randn(300, 32) / 6
    labels = torch.randint(300, (64,))
    exact = cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    loss = LinearCrossEntropy.apply(
        hidden.bfloat16(), weight.bfloat16(), None, labels, 0.0, 1024, Lookups()
    )

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)


@pytest.mark.usefixtures("kernels")
def test_a_frozen_weight_gets_no_gradient_and_changes_none() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(9, 8, requires_grad=True)
    weight, labels = torch.randn(20, 8), torch.randint(20, (9,))
    (wanted,) = torch.autograd.grad(
        cross_entropy(hidden @ weight.t(), labels, reduction="sum"), hidden
    )
    loss = LinearCrossEntropy.apply(hidden, weight, None, labels, 0.0, 4, Lookups())
    (found,) = torch.autograd.grad(loss, hidden)

    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
