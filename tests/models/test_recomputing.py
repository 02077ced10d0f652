"""Gradient checkpointing: the same gradients, dropout included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_features, tiny_model

from attuner.models.adapters import add_adapter
from attuner.models.recomputing import recompute_layers
from attuner.tasks.translation import TranslationTask


def gradients(
    family: str, *, recomputes: bool, adapts: bool = False
) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss and gradients with dropout, and how often a feed-forward layer was computed."""
    model = tiny_model(family, dropout=0.2)
    if adapts:
        add_adapter(model, rank=2, dropout=0.2)
    if recomputes:
        recompute_layers(model)
    calls: list[int] = []
    layer = next(module for name, module in model.named_modules() if name.endswith(("fc1", ".wi")))
    layer.register_forward_hook(lambda *_: calls.append(1))
    task, features = TranslationTask(model, label_smoothing=0.1), tiny_features(12)
    model.train()
    torch.manual_seed(7)
    with task.prepared(model):
        loss = task.loss(model, task.collate(features, np.arange(12), torch.device("cpu")))
        loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found, len(calls)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("family", ["marian", "bart", "t5"])
def test_recomputed_layers_give_the_same_gradients(family: str, adapts: bool) -> None:
    loss, expected, once = gradients(family, recomputes=False, adapts=adapts)
    again, found, twice = gradients(family, recomputes=True, adapts=adapts)

    assert (once, twice) == (1, 2)
    assert again == loss
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-5)
