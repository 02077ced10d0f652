"""Classifiers learn by our trainer what they learn by transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_classifiers import HAVE_TYPES, PAD, tiny_classifier, tiny_texts
from trainers import (
    OUR_LABELS,
    STOCK_LABELS,
    assert_same_history,
    assert_same_updates,
    train_labels,
)


def data_of(family: str, kind: str = "single") -> Dataset:
    texts = tiny_texts(20, with_types=family in HAVE_TYPES)
    rows = texts.tokens.to_lists()
    random = np.random.default_rng(0)
    labels: Any = {
        "single": texts.targets.tolist(),
        "multi": random.integers(0, 2, (20, 3)).astype(float).tolist(),
        "rating": random.normal(size=20).tolist(),
    }[kind]
    types = {} if texts.token_types is None else {"token_type_ids": texts.token_types.to_lists()}
    return Dataset.from_dict(
        {
            "input_ids": rows, "attention_mask": [[1] * len(ids) for ids in rows],
            "labels": labels, **types,
        }
    )  # fmt: skip


def both(family: str, kind: str, folder: Path, **more: Any) -> tuple[Any, Any]:
    num_labels = 1 if kind == "rating" else 3
    options = {"pad": PAD, "eval_strategy": "epoch", **more}
    data = data_of(family, kind)
    found, wanted = (
        train_labels(arm, tiny_classifier(family, num_labels=num_labels), data, folder, **options)
        for arm in (OUR_LABELS, STOCK_LABELS)
    )
    return found, wanted


@pytest.mark.parametrize(
    "family", ["bert", "distilbert", "roberta", "electra", "modernbert", "deberta-v2", "gpt2"]
)
def test_history_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    found, wanted = both(family, "single", tmp_path)
    assert_same_history(found, wanted)


@pytest.mark.parametrize("kind", ["multi", "rating"])
def test_kinds_of_labels(kind: str, tmp_path: Path) -> None:
    found, wanted = both("bert", kind, tmp_path)
    assert_same_history(found, wanted)
    assert found.model.config.problem_type == wanted.model.config.problem_type


def test_smoothed_labels(tmp_path: Path) -> None:
    found, wanted = both("bert", "single", tmp_path, label_smoothing_factor=0.1)
    assert_same_history(found, wanted)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_accumulation(kind: str, tmp_path: Path) -> None:
    data = data_of("bert", kind).select(range(16))
    whole, cut = (
        train_labels(
            OUR_LABELS, tiny_classifier(), data, tmp_path, pad=PAD,
            per_device_train_batch_size=8 // parts, gradient_accumulation_steps=parts,
        )
        for parts in (1, 4)
    )  # fmt: skip
    assert_same_updates(cut, whole)


def test_predictions_keep_their_order(tmp_path: Path) -> None:
    data = data_of("bert")
    found, wanted = both("bert", "single", tmp_path)
    ours, theirs = found.predict(data), wanted.predict(data)
    assert ours.predictions == pytest.approx(theirs.predictions, abs=1e-4)
    assert (ours.label_ids == theirs.label_ids).all()
    assert ours.metrics.keys() == theirs.metrics.keys()


def test_a_loss_function_that_a_model_was_given_is_learned(tmp_path: Path) -> None:
    def thrice(pooled_logits: torch.Tensor, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        return 3 * torch.nn.functional.cross_entropy(pooled_logits, labels)

    def train(arm: Any) -> Any:
        model = tiny_classifier("llama")
        model.loss_function = thrice
        return train_labels(arm, model, data_of("llama"), tmp_path, pad=PAD)

    assert_same_history(train(OUR_LABELS), train(STOCK_LABELS))


def test_hidden_states_that_a_model_gives_are_among_the_predictions(tmp_path: Path) -> None:
    data = data_of("bert")
    wanted, found = (
        train_labels(
            arm, tiny_classifier("bert", num_labels=3, output_hidden_states=True), data, tmp_path,
            pad=PAD,
        ).predict(data.select(range(5))).predictions
        for arm in (STOCK_LABELS, OUR_LABELS)
    )  # fmt: skip
    assert [len(part) for part in found] == [len(part) for part in wanted] == [5, 3]
    assert found[0] == pytest.approx(wanted[0], abs=1e-4)
