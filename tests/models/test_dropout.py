"""Dropout by own kernels, behind torch's own function."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attuner.models.dropout import FastDropout

pytestmark = pytest.mark.usefixtures("kernels")


def test_the_gradient_flows_through_what_was_kept() -> None:
    numbers = torch.ones(1000, requires_grad=True)
    with FastDropout():
        output = F.dropout(numbers, 0.25)
    output.sum().backward()

    assert torch.equal(numbers.grad, output.detach())
    assert 0.2 < (output == 0).float().mean() < 0.3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    with FastDropout():
        output = F.dropout(torch.ones(400_000), share)

    assert output.mean().item() == pytest.approx(1.0, abs=0.02)


def test_where_nothing_is_dropped_the_numbers_come_back() -> None:
    numbers = torch.randn(10)
    with FastDropout():
        assert F.dropout(numbers, 0.5, training=False) is numbers
        assert F.dropout(numbers, 0.0) is numbers
        assert not F.dropout(numbers, 1.0).any()


def test_what_the_kernels_do_not_take_goes_to_torch() -> None:
    numbers = torch.ones(4, 100)
    with FastDropout():
        assert set(F.dropout(numbers.t(), 0.5).unique().tolist()) == {0.0, 2.0}
        same = F.dropout(numbers, 0.5, inplace=True)
    assert same is numbers
    assert set(numbers.unique().tolist()) == {0.0, 2.0}


def test_torch_s_state_decides_what_is_dropped() -> None:
    def dropped(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with FastDropout():
            return F.dropout(torch.ones(500), 0.5)

    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))
