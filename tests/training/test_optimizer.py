"""Learning rates that fall from the head down to the embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_classifiers import FAMILIES, tiny_classifier

from attuner.training.optimizer import build_optimizer, layer_of


def factors(model: Any, **options: Any) -> dict[str, float]:
    """The factor of each parameter's learning rate, by its name."""
    optimizer = build_optimizer(model, learning_rate=1.0, weight_decay=0.1, **options)
    by_parameter = {
        id(parameter): group["rate_factor"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return {name: by_parameter[id(p)] for name, p in model.named_parameters()}


def test_every_layer_has_its_share_of_the_one_above() -> None:
    found = factors(tiny_classifier(), layer_decay=0.5)  # two layers
    assert found["classifier.weight"] == found["bert.pooler.dense.bias"] == 1
    assert found["bert.encoder.layer.1.attention.self.query.weight"] == 0.5
    assert found["bert.encoder.layer.0.output.LayerNorm.bias"] == 0.25
    assert found["bert.embeddings.word_embeddings.weight"] == 0.125


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_embeddings_layers_and_a_head(family: str) -> None:
    model = tiny_classifier(family)
    layers = {layer_of(name) for name, _ in model.named_parameters()}
    num = len(layers) - 2
    assert layers == {0, *range(1, num + 1), None}
    assert num == model.config.num_hidden_layers
    assert set(factors(model, layer_decay=0.5).values()) == {0.5**i for i in range(num + 2)}


def test_without_decay_there_are_the_two_groups_of_old() -> None:
    model = tiny_classifier()
    groups = build_optimizer(model, learning_rate=1.0, weight_decay=0.1).param_groups
    assert [(g["weight_decay"], g["rate_factor"]) for g in groups] == [(0.1, 1.0), (0.0, 1.0)]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])
