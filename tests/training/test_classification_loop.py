"""Classification through the one loop: what it learns, and that cuts make no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_classifiers import WORDS, write_encoder

from attuner.data.batching import BatchPlan
from attuner.data.labelled import LabelledExample
from attuner.data.labels import Kind, LabelSet
from attuner.data.units import Address
from attuner.inference.classifier import load_labels, predict_logits
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifiers import load_classifier, save_classifier
from attuner.tasks.classification import ClassificationTask, encode
from attuner.training.events import Stepped
from attuner.training.loop import Settings, train_loop
from attuner.training.optimizer import build_optimizer
from attuner.training.setup import prepare

CPU = torch.device("cpu")
LABELS: dict[Kind, LabelSet] = {
    "single": LabelSet("single", ("a", "b", "c")),
    "multi": LabelSet("multi", ("a", "b")),
    "rating": LabelSet("rating"),
}


def examples(kind: Kind, num: int) -> list[LabelledExample]:
    """Random texts, every other one a pair's first, with labels that follow no rule."""
    random = np.random.default_rng(3)
    labels: dict[Kind, list[Any]] = {
        "single": ["a", "b", "c"],
        "multi": [(), ("a",), ("b",), ("a", "b")],
        "rating": [-1.0, 0.0, 2.5],
    }
    return [
        LabelledExample(
            " ".join(random.choice(WORDS, random.integers(2, 12))),
            " ".join(random.choice(WORDS, random.integers(2, 6))),
            labels[kind][row % len(labels[kind])],
            Address("a.csv", str(row)),
        )
        for row in range(num)
    ]


class Bench:
    """A classifier on eight pairs of texts, ready for the loop."""

    def __init__(
        self,
        folder: Path,
        kind: Kind = "single",
        *,
        num: int = 8,
        computes_in: torch.dtype | None = None,
        rate: float = 5e-3,
        **plan: Any,
    ) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=True)
        self.folder = write_encoder(folder / "encoder")
        self.tokens = ClassifierTokens(self.folder)
        self.examples = examples(kind, num)
        self.features = encode(self.examples, self.tokens, LABELS[kind]).features
        model = load_classifier(self.folder, LABELS[kind]).model
        self.optimizer = build_optimizer(
            model, learning_rate=rate, weight_decay=0.0, computes_in=computes_in
        )
        self.task = ClassificationTask(model, kind, pads_left=self.tokens.pads_left)
        ones = np.ones(len(self.features), np.int64)
        lengths = self.features.tokens.lengths
        self.plan = BatchPlan(ones, lengths, **{"batch_examples": num, "budget": lengths, **plan})
        self.model, self.prepared = prepare(self.accelerator, model, self.optimizer)
        self.rate = rate

    def train(self, num_steps: int) -> list[Stepped]:
        with self.task.prepared(self.model):
            events = list(
                train_loop(
                    self.model,
                    self.prepared,
                    self.plan,
                    self.accelerator,
                    collate=lambda rows: self.task.collate(self.features, rows, CPU),
                    loss=self.task.loss,
                    evaluate=lambda: ({}, {}),
                    save=lambda *_: Path("nowhere"),
                    settings=Settings(num_steps, self.rate, schedule="constant", evaluate="none"),
                )
            )
        return [event for event in events if isinstance(event, Stepped)]

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


@pytest.mark.parametrize("computes_in", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", LABELS)
def test_eight_examples_are_learned_by_heart_saved_and_said_again(
    tmp_path: Path, kind: Kind, computes_in: torch.dtype | None
) -> None:
    # Several labels take longer, and at 5e-3 their loss may jump in bf16.
    rate, num_steps = (2e-3, 250) if kind == "multi" else (5e-3, 60)
    bench = Bench(tmp_path, kind, computes_in=computes_in, rate=rate)
    steps = bench.train(num_steps)
    assert steps[-1].loss < 0.1 * steps[0].loss
    save_classifier(bench.model, bench.tokens, bench.folder, tmp_path / "model")

    found = load_labels(tmp_path / "model", precision="fp32").classify(
        [example.text for example in bench.examples],
        [str(example.text_pair) for example in bench.examples],
    )

    wanted = [example.label for example in bench.examples]
    if kind == "rating":
        assert [said.label for said in found] == pytest.approx(wanted, abs=0.5)
    else:
        assert [said.label for said in found] == wanted
    with bench.task.prepared(bench.model):
        logits = predict_logits(bench.model, bench.task, bench.features)
    np.testing.assert_allclose([said.logits for said in found], logits, atol=1e-5)


@pytest.mark.parametrize(
    "cut", [{"accumulation": 2}, {"accumulation": 4}, {"max_padded_tokens": 40}]
)
def test_an_update_is_the_same_whatever_it_is_cut_into(tmp_path: Path, cut: dict[str, int]) -> None:
    whole, parts = Bench(tmp_path, rate=1e-3), Bench(tmp_path, rate=1e-3, **cut)
    first, second = whole.train(2), parts.train(2)
    assert [s.loss for s in second] == pytest.approx([s.loss for s in first], rel=1e-5)
    assert [s.grad_norm for s in second] == pytest.approx([s.grad_norm for s in first], rel=1e-4)


def test_the_loss_of_an_update_is_the_mean_over_its_examples(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.model.eval()
    with bench.task.prepared(bench.model), torch.no_grad():
        batch = bench.task.collate(bench.features, np.arange(8), CPU)
        logits = bench.task.logits(bench.model, batch)
    mean = torch.nn.functional.cross_entropy(logits, batch["targets"]).item()
    (step,) = bench.train(1)
    assert step.loss == pytest.approx(mean, rel=1e-5)
    assert step.num_target_tokens == 8


def test_updates_hold_a_budget_of_tokens(tmp_path: Path) -> None:
    bench = Bench(tmp_path, num=60, batch_examples=None, batch_tokens=100)
    steps = bench.train(3)
    assert all(3 < step.num_examples < 14 for step in steps)
