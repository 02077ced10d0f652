"""The loss inside of what wraps a model: torch's DistributedDataParallel, one process of gloo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import PAD, tiny_features, tiny_model
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from attuner.tasks.translation import TranslationTask
from attuner.training.optimizer import keep_pad_row_zero


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def gradients(model: nn.Module, raw_model: nn.Module) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one micro-batch; the hooks are in the bare model."""
    task = TranslationTask(raw_model, label_smoothing=0.1)
    features = tiny_features(12)
    model.train()
    with task.prepared(raw_model):
        loss = task.loss(model, task.collate(features, np.arange(12), torch.device("cpu")))
        (loss / int(features.target.lengths.sum())).backward()
    found = {name: p.grad for name, p in raw_model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("family", ["marian", "t5"])
def test_loss_and_gradients_are_those_of_the_bare_model(family: str) -> None:
    bare, inner = tiny_model(family), tiny_model(family)
    for model in (bare, inner):
        with torch.no_grad():
            model.get_output_embeddings().weight[PAD] = 0
        keep_pad_row_zero(model)
    expected = gradients(bare, bare)
    found = gradients(DistributedDataParallel(inner), inner)

    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found[1].keys() == expected[1].keys()
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-8)
    if family == "marian":
        assert not inner.get_output_embeddings().weight.grad[PAD].any()
        assert inner.get_output_embeddings().weight.grad[PAD + 1].any()
