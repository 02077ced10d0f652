"""AdamW against torch's own, and what becomes of bf16 copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attuner.training.adamw import AdamW


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 3))


def batches(num: int) -> list[torch.Tensor]:
    torch.manual_seed(9)
    return [torch.randn(16, 6) * 10 for _ in range(num)]


def groups(net: nn.Module) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


@pytest.mark.usefixtures("kernels")
def test_in_fp32_updates_are_those_of_torch() -> None:
    ours, theirs = model(), model()
    optimizer = AdamW(groups(ours), learning_rate=0.01)
    reference = torch.optim.AdamW(groups(theirs), lr=0.01)
    for batch in batches(12):
        with optimizer.computing():
            ours(batch).square().sum().backward()
        norm = optimizer.clip(1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs(batch).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
        assert norm == pytest.approx(float(expected), rel=1e-5)

    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_in_blocks_are_updated_as_a_whole(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kernels copies' gradients are taken block by block; a strided one is taken whole."""
    monkeypatch.setattr("attuner.kernels.native", lambda: None)
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(5, 4, 3, 2).to(memory_format=layout))
    theirs = nn.Parameter(ours.detach().clone())
    options = {"weight_decay": 0.1}
    optimizer = AdamW(
        [{"params": [ours], **options}], learning_rate=0.01, computes_in=torch.bfloat16
    )
    reference = torch.optim.AdamW([theirs], lr=0.01, **options)
    for cached in (1, 7, 1000):
        monkeypatch.setattr("attuner.kernels._CACHED", cached)
        grad = torch.randn(5, 4, 3, 2).bfloat16().to(memory_format=layout)  # as autograd makes it
        with optimizer.computing():
            ours.grad = grad
        norm = optimizer.clip(1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs.grad = grad.float()
        expected = nn.utils.clip_grad_norm_([theirs], 1.0)
        reference.step()
        assert norm == pytest.approx(float(expected), rel=1e-6)
        with optimizer.computing():
            copy = ours.detach().clone()
        assert torch.equal(copy, ours.detach().bfloat16())

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_weights_stay_fp32_and_copies_follow_them() -> None:
    net = model()
    optimizer = AdamW(groups(net), learning_rate=1e-4, computes_in=torch.bfloat16)
    first = net[0].weight.detach().clone()
    for batch in batches(3):
        with optimizer.computing():
            assert net[0].weight.dtype == torch.bfloat16
            torch.testing.assert_close(
                net[0].weight.float(), first.bfloat16().float(), rtol=0.01, atol=1e-3
            )
            net(batch.bfloat16()).float().square().sum().backward()
        assert net[0].weight.dtype == torch.float32
        assert net[0].weight.grad is None
        optimizer.step()
        optimizer.zero_grad()

    moved = (net[0].weight.detach() - first).abs()
    assert 1e-4 < float(moved.max()) < 1e-3  # below what bf16 can add to weights of 0.4
    with optimizer.computing():
        assert torch.equal(net[0].weight, net[0].weight.bfloat16())
        copy = net[0].weight.detach().clone()
    assert torch.equal(copy, net[0].weight.detach().bfloat16())


@pytest.mark.usefixtures("kernels")
def test_micro_batches_are_added_up_in_fp32() -> None:
    """A hundred small gradients beside a large one: bf16 would lose every one of them."""
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    optimizer = AdamW([{"params": list(net.parameters())}], learning_rate=0.1,
                      computes_in=torch.bfloat16)  # fmt: skip
    with optimizer.computing():
        for value in (256.0, *[0.5] * 100):
            net(torch.tensor([[value]], dtype=torch.bfloat16)).sum().backward()
            optimizer.collect()

    assert optimizer.clip(1e9) == pytest.approx(306.0)


@pytest.mark.usefixtures("kernels")
def test_copies_notice_weights_that_were_loaded() -> None:
    net, other = model(), model(seed=1)
    optimizer = AdamW(groups(net), learning_rate=1e-4, computes_in=torch.bfloat16)
    net.load_state_dict(other.state_dict())
    with optimizer.computing():
        assert torch.equal(net[2].weight, other[2].weight.bfloat16())


def test_frozen_weights_are_copied_too_and_never_moved() -> None:
    net = model()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    optimizer = AdamW(
        [{"params": [p for p in net.parameters() if p.requires_grad]}],
        learning_rate=0.1, computes_in=torch.bfloat16, frozen=[net[0].weight],
    )  # fmt: skip
    with optimizer.computing():
        net(batches(1)[0].bfloat16()).sum().backward()
    optimizer.step()

    assert torch.equal(net[0].weight, before)


def test_an_error_inside_leaves_the_weights_in_place() -> None:
    net = model()
    optimizer = AdamW(groups(net), learning_rate=0.1, computes_in=torch.bfloat16)
    with pytest.raises(RuntimeError, match="out of memory"), optimizer.computing():
        raise RuntimeError("out of memory")

    assert all(p.dtype == torch.float32 and p.grad is None for p in net.parameters())
