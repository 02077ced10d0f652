"""Micro-batches of one shape: nothing but the shape is otherwise than without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from plain import assert_near, gradients
from tiny import FAMILIES, tiny_features, tiny_model
from tiny_classifiers import tiny_classifier, tiny_texts

from attuner.models.objective import loss_in_forward
from attuner.recipe import Recipe
from attuner.tasks.classification import ClassificationTask
from attuner.tasks.task import FixedShape
from attuner.tasks.translation import TranslationTask
from attuner.training import setup
from attuner.training.optimizer import build_optimizer

CPU = torch.device("cpu")
ROWS = np.array([3, 11, 0, 7, 20])


def loss_of(model: Any, task: Any, features: Any, shape: FixedShape | None) -> float:
    """Loss of some rows; leaves their gradients."""
    model.train()  # there is no dropout
    with task.prepared(model):
        loss = task.loss(model, task.collate(features, ROWS, CPU, shape))
    loss.backward()
    return float(loss.item())


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_rows_alone(family: str) -> None:
    model, features = tiny_model(family), tiny_features()
    found = []
    for fixed in (False, True):
        task = TranslationTask(model, label_smoothing=0.1, fixed_shapes=fixed)
        shape = FixedShape(8, 23, 21) if fixed else None
        found.append((loss_of(model, task, features, shape), gradients(model)))
    (expected, wanted), (loss, grads) = found

    assert loss == pytest.approx(expected, rel=1e-6)
    assert_near(grads, wanted)


@pytest.mark.parametrize("kind", ["single", "multi", "rating"])
@pytest.mark.parametrize(
    ("family", "pads_left"),
    [("bert", False), ("roberta", False), ("deberta-v2", False), ("gpt2", False), ("llama", True)],
)
def test_those_of_classifiers_too(family: str, pads_left: bool, kind: Any) -> None:
    model = tiny_classifier(family, num_labels=1 if kind == "rating" else 3)
    features = tiny_texts()
    if kind != "single":
        labels = features.targets.astype(np.float32)
        several = np.eye(3, dtype=np.float32)[features.targets]
        features = type(features)(
            features.tokens, None, several if kind == "multi" else labels,
            features.weight, features.example,
        )  # fmt: skip
    options: dict[str, Any] = {"pads_left": pads_left}
    if kind != "rating":
        options["class_weights"] = np.array([1, 2, 4], np.float32)
    if kind == "single":
        options["label_smoothing"] = 0.1
    found = []
    for fixed in (False, True):
        task = ClassificationTask(model, kind, fixed_shapes=fixed, **options)
        shape = FixedShape(8, 45) if fixed else None
        found.append((loss_of(model, task, features, shape), gradients(model)))
    (expected, wanted), (loss, grads) = found

    assert loss == pytest.approx(expected, rel=1e-6)
    assert_near(grads, wanted)


def recipe(**training: Any) -> Recipe:
    task = {"name": "translation", "source": "en", "target": "fr"}
    return Recipe.model_validate(
        {
            "task": task, "model": "m", "data": "d.csv",
            "training": {"fixed_shapes": True, "batch_examples": 11} | training,
        }
    )  # fmt: skip


def shapes(batch: Any) -> dict[str, torch.Size]:
    """Shapes of a micro-batch's tensors, by name."""
    return {name: value.shape for name, value in {**batch, **batch.get("inputs", {})}.items()
            if isinstance(value, torch.Tensor)}  # fmt: skip


TEXT: tuple[Callable[[], Any], Callable[[Any], Any], Any] = (
    tiny_model, lambda model: TranslationTask(model, fixed_shapes=True), tiny_features(40)
)  # fmt: skip
LABELS: tuple[Callable[[], Any], Callable[[Any], Any], Any] = (
    tiny_classifier, lambda m: ClassificationTask(m, "single", fixed_shapes=True), tiny_texts(40)
)  # fmt: skip


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("parts", [TEXT, LABELS], ids=["text", "labels"])
def test_all_micro_batches_of_an_epoch_have_one_shape(parts: Any, accumulation: int) -> None:
    make, build_task, features = parts
    options, task = recipe(accumulation=accumulation), build_task(make())
    plan = setup.build_plan(options, features, is_packed=task.is_packed)
    collate = setup.collate_training(options, task, features, CPU)
    seen, rows = set(), 0
    for update in plan:
        assert len(update.micro_batches) == accumulation
        for part in update.micro_batches:
            seen.add(tuple(sorted(shapes(collate(part)).items())))
            rows += len(part)
        if update.epoch >= 1:
            break

    assert rows == 40
    assert len(seen) == 1
    shape = setup.fixed_shape(options, features)
    assert shape.rows == (11 if accumulation == 1 else 4)
    assert dict(next(iter(seen)))["input_ids"] == (shape.rows, features.source_lengths.max())
    assert task.batches == "padded, all to one shape"


def test_processes_share_the_rows() -> None:
    features = tiny_features()
    assert setup.fixed_shape(recipe(accumulation=2), features, num_processes=2).rows == 3


def test_no_shape_within_the_loss_depends_on_the_labels() -> None:
    model = tiny_model()
    seen = []

    def remember(_: Any, args: Any) -> None:
        seen.append(args[0].shape)

    task = TranslationTask(model, fixed_shapes=True)
    hook = model.get_output_embeddings().register_forward_pre_hook(remember)
    with loss_in_forward(model, keeps_padding=True):
        for rows in (ROWS, ROWS[:2]):
            batch = task.collate(tiny_features(), rows, CPU, FixedShape(6, 23, 21))
            task.loss(model, batch).backward()
    hook.remove()
    assert seen == [(6, 21, 32)] * 2


@pytest.mark.parametrize("family", ["marian", "m2m_100"])
def test_padded_positions_go_with_bf16_copies(family: str) -> None:
    model, features = tiny_model(family), tiny_features()
    task = TranslationTask(model, fixed_shapes=True)
    expected = loss_of(model, task, features, FixedShape(8, 23, 21))
    optimizer = build_optimizer(
        model, learning_rate=0.1, weight_decay=0.0, computes_in=torch.bfloat16
    )
    with optimizer.computing():
        assert loss_of(model, task, features, FixedShape(8, 23, 21)) == pytest.approx(
            expected, rel=0.02
        )
