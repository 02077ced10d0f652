"""Updates of every family by the real loop: their gradients, and bf16 copies of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from lessons import LESSONS
from plain import assert_near, gradients, plain_loss
from tiny import FAMILIES, tiny_features, tiny_folder, tiny_model, with_adapters

from attuner.data.batching import BatchPlan
from attuner.recipe import Recipe
from attuner.tasks.translation import TranslationTask
from attuner.training.adamw import AdamW
from attuner.training.check import check
from attuner.training.events import Event, Planned, Stepped
from attuner.training.loop import Settings, train_loop
from attuner.training.optimizer import build_optimizer
from attuner.training.plans import MAX_PADDED_TOKENS
from attuner.training.run import train as attuner_train
from attuner.training.setup import prepare

CPU = torch.device("cpu")
EIGHT = np.arange(8)


class Watched(AdamW):
    """Keeps the gradient of its last update."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step()
        self.last = {p: grad for p in self.trained() if (grad := self.gradient(p)) is not None}


def train(
    model: Any,
    *,
    num_steps: int,
    accumulation: int = 1,
    computes_in: torch.dtype | None = None,
    learning_rate: float = 1e-2,
) -> tuple[list[Stepped], dict[str, torch.Tensor]]:
    """Updates of the same eight examples; returns the steps and the last sum of gradients."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(
        model, learning_rate=learning_rate, weight_decay=0.0, computes_in=computes_in
    )
    optimizer.__class__ = Watched
    features, task = tiny_features(8), TranslationTask(model)
    plan = BatchPlan(
        features.target.lengths,
        features.source.lengths,
        batch_examples=8,
        accumulation=accumulation,
        max_padded_tokens=None if task.is_packed else MAX_PADDED_TOKENS,
    )
    prepared, wrapped = prepare(accelerator, model, optimizer)
    with task.prepared(model):
        events = list(
            train_loop(
                prepared,
                wrapped,
                plan,
                accelerator,
                collate=lambda rows: task.collate(features, rows, CPU),
                loss=task.loss,
                evaluate=lambda: ({}, {}),
                save=lambda *_: None,  # type: ignore[arg-type, return-value]
                settings=Settings(
                    num_steps=num_steps, learning_rate=learning_rate, schedule="constant",
                    evaluate="none", save="none",
                ),
            )
        )  # fmt: skip
    last = {name: optimizer.last[p] for name, p in model.named_parameters() if p in optimizer.last}
    return [event for event in events if isinstance(event, Stepped)], last


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("accumulation", "wraps"),
    [(1, False), (2, False), (4, False), (4, True)],
    ids=["8x1", "4x2", "2x4", "2x4-lora"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_has_the_gradient_of_transformers_mean(
    family: str, accumulation: int, wraps: bool
) -> None:
    model, features = tiny_model(family), tiny_features(8)
    if wraps:
        model = with_adapters(model)
    num_tokens = int(features.target.lengths.sum())
    expected = plain_loss(model, features, EIGHT) / num_tokens
    expected.backward()
    wanted = gradients(model)
    (step,), found = train(model, num_steps=1, accumulation=accumulation)

    assert step.loss == pytest.approx(expected.item(), rel=1e-5)
    assert_near(found, wanted, scale=1 / num_tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_copies_learn_eight_examples_by_heart(family: str) -> None:
    model = tiny_model(family, dropout=0.1)
    exact = plain_loss(tiny_model(family), tiny_features(8), EIGHT).item()
    steps, _ = train(model, num_steps=40, computes_in=torch.bfloat16)
    first = train(tiny_model(family), num_steps=1, computes_in=torch.bfloat16)[0][0]

    assert first.loss * first.num_target_tokens == pytest.approx(exact, rel=2e-2)
    assert np.mean([step.loss for step in steps[-5:]]) < steps[0].loss / 2
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("family", ["m2m_100", "t5"])
def test_adapters_learn_in_bf16_copies_as_in_fp32(family: str) -> None:
    def learned(computes_in: torch.dtype | None) -> tuple[float, float]:
        model = with_adapters(tiny_model(family))
        steps, _ = train(model, num_steps=40, computes_in=computes_in)
        return steps[0].loss, steps[-1].loss

    before, exact = learned(None)
    _, rounded = learned(torch.bfloat16)
    assert exact < 0.97 * before  # its output layer is frozen, random and small
    assert rounded == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("family", ["bart", "t5-1.1"])
def test_a_run_and_its_check_say_how_batches_are_made(
    family: str, lesson_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    tiny_folder(family, tmp_path / "base", [*LESSONS, *LESSONS.values()])
    recipe = lesson_recipe(
        f"model={tmp_path / 'base'}", "training.epochs=15", "training.learning_rate=0.01",
        "training.evaluate=none",
    )  # fmt: skip
    wanted = {
        "bart": "packed, no padding",
        "t5-1.1": "padded by token budget (T5 has relative positions)",
    }
    cost = check(recipe).cost
    events: list[Event] = []
    run = attuner_train(recipe, listeners=[events.append])
    (planned,) = (event for event in events if isinstance(event, Planned))

    assert cost is not None
    assert cost.batches == planned.batches == wanted[family]
    assert (cost.num_steps, cost.measured_steps) == (planned.num_steps, 3)
    assert cost.training_seconds > 0
    assert run.after["loss"] < run.before["loss"] / 2
