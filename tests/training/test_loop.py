from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny import PAD, tiny_features, tiny_model

from attuner.data.batching import BatchPlan
from attuner.data.features import SequencePairs
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq
from attuner.tasks.translation import TranslationTask
from attuner.training.checkpoint import load_checkpoint, save_checkpoint
from attuner.training.checkpoint_folder import checkpoints, prune, remove_remains
from attuner.training.events import Evaluated, Event, Finished, Saved, Stepped
from attuner.training.loop import DivergedError, LoopState, Settings, is_better, train_loop
from attuner.training.optimizer import build_optimizer, keep_pad_row_zero, learning_rate_at
from attuner.training.scoring import token_loss
from attuner.training.setup import prepare

CPU = torch.device("cpu")


class Bench:
    """A model, an optimizer and a plan, ready for the loop."""

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        batch: int = 8,
        accumulation: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        computes_in: torch.dtype | None = None,
    ) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=True)
        self.accelerator.scaler = scaler
        self.model = tiny_model(dropout=dropout)
        optimizer = build_optimizer(
            self.model, learning_rate=1e-2, weight_decay=0.01, computes_in=computes_in
        )
        self.features: SequencePairs = tiny_features(30)
        self.plan = BatchPlan(
            self.features.target.lengths,
            self.features.source.lengths,
            batch_examples=batch,
            accumulation=accumulation,
            seed=5,
        )
        self.task = TranslationTask(self.model)
        self.model, self.optimizer = prepare(self.accelerator, self.model, optimizer)
        self.scores: Iterator[float] = iter(range(1000))
        self.saved: list[tuple[int, bool]] = []

    def events(
        self, *, state: LoopState | None = None, folder: Path | None = None, **settings: Any
    ) -> list[Event]:
        def save(state: LoopState, is_best: bool) -> Path:
            self.saved.append((state.step, is_best))
            if folder is None:
                return Path("nowhere")
            return save_checkpoint(folder, self.model, self.optimizer.optimizer, state)

        with self.task.prepared(self.model):
            return list(
                train_loop(
                    self.model,
                    self.optimizer,
                    self.plan,
                    self.accelerator,
                    collate=lambda rows: self.task.collate(self.features, rows, CPU),
                    loss=self.task.loss,
                    evaluate=lambda: ({"chrf": float(next(self.scores))}, {}),
                    save=save,
                    settings=Settings(**{"num_steps": 8, "learning_rate": 1e-2, **settings}),
                    state=state,
                )
            )

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_it_learns_and_tells_what_it_does() -> None:
    bench = Bench()
    events = bench.events(num_steps=60, evaluate="none", save="steps", save_every_steps=25)
    steps = [event for event in events if isinstance(event, Stepped)]

    assert steps[-1].loss < 0.75 * steps[0].loss  # the sequences are random
    assert [event.step for event in steps] == list(range(1, 61))
    assert bench.saved == [(25, False), (50, False), (60, False)]
    assert isinstance(events[-1], Finished)
    assert events[-1].num_examples == 450  # 15 epochs of 30


def test_an_epoch_ends_with_scores_and_a_checkpoint() -> None:
    kinds = [type(event).__name__ for event in Bench().events()]

    assert kinds == [*["Stepped"] * 4, "Evaluated", "Saved"] * 2 + ["Finished"]


def test_the_reported_training_loss_is_the_mean_over_tokens_since_the_last_scores() -> None:
    events = Bench().events()
    steps = [event for event in events if isinstance(event, Stepped)][4:]
    scored = [event for event in events if isinstance(event, Evaluated)][1]

    tokens = sum(step.num_target_tokens for step in steps)
    assert scored.train_loss == pytest.approx(
        sum(step.loss * step.num_target_tokens for step in steps) / tokens
    )


def test_an_update_does_not_depend_on_what_it_is_cut_into() -> None:
    results = []
    for accumulation in (1, 2, 4):
        bench = Bench(accumulation=accumulation)
        events = bench.events(num_steps=3, evaluate="none", save="steps", save_every_steps=9)
        losses = [event.loss for event in events if isinstance(event, Stepped)]
        norms = [event.grad_norm for event in events if isinstance(event, Stepped)]
        results.append((losses, norms))

    for losses, norms in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5)
        assert norms == pytest.approx(results[0][1], rel=1e-5)


def test_the_gradient_is_that_of_the_mean_over_real_tokens() -> None:
    bench = Bench(batch=30, accumulation=4)
    (step, *_) = bench.events(num_steps=1, evaluate="none", max_grad_norm=0.0)
    assert isinstance(step, Stepped)

    model = tiny_model()
    model.train()
    task = TranslationTask(model)
    with task.prepared(model):
        batch = task.collate(bench.features, np.arange(30), CPU)
        (task.loss(model, batch) / bench.features.target.lengths.sum()).backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert step.grad_norm == pytest.approx(norm.item(), rel=1e-5)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    bench = Bench()
    bench.scores = iter([3.0, 5.0, 4.0, 5.0, 9.0])
    events = bench.events(num_steps=100, patience=2)
    scored = [event for event in events if isinstance(event, Evaluated)]

    assert [event.is_best for event in scored] == [True, True, False, False]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.best_step) == ("early stopping", 8)
    assert isinstance(events[-2], Saved)


@pytest.mark.parametrize(
    ("value", "best", "metric", "delta", "better"),
    [
        (2.0, 1.0, "bleu", 0.0, True),
        (2.0, 1.0, "loss", 0.0, False),
        (1.0, 2.0, "loss", 0.0, True),
        (1.0, 2.0, "ter", 0.0, True),
        (1.0, 2.0, "mae", 0.0, True),
        (1.0, 2.0, "a-metric-of-ones-own", 0.0, False),
        (1.05, 1.0, "bleu", 0.1, False),
        (1.0, 1.0, "bleu", 0.0, False),
        (1.0, None, "bleu", 0.0, True),
        (float("nan"), None, "bleu", 0.0, False),
        (float("nan"), 1.0, "loss", 0.0, False),
    ],
)
def test_better(value: float, best: float | None, metric: str, delta: float, better: bool) -> None:
    assert is_better(value, best, metric, delta) is better


def test_the_learning_rate_rises_and_falls_in_lines() -> None:
    rates = [
        learning_rate_at(step, peak=8.0, num_steps=6, warmup_steps=2, schedule="linear")
        for step in range(7)
    ]
    assert rates == [0.0, 4.0, 8.0, 6.0, 4.0, 2.0, 0.0]
    assert learning_rate_at(9, peak=8.0, num_steps=9, warmup_steps=0, schedule="constant") == 8.0


def test_biases_and_norms_are_not_decayed() -> None:
    groups = build_optimizer(tiny_model(), learning_rate=1.0, weight_decay=0.5).param_groups

    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}


@pytest.mark.parametrize("starts_at_zero", [True, False])
def test_the_pad_row_stays_at_zero_where_it_was(starts_at_zero: bool) -> None:
    bench = Bench()
    row = bench.model.model.shared.weight[PAD]
    with torch.no_grad():
        row.fill_(0.0 if starts_at_zero else 0.1)
    keep_pad_row_zero(bench.model)
    bench.events(num_steps=5, evaluate="none")

    assert bool(bench.model.model.shared.weight[PAD].any()) is not starts_at_zero
    assert bool((bench.model.model.shared.weight[5] != 0).all())


def test_four_steps_are_two_and_a_kill_and_two_more(tmp_path: Path) -> None:
    whole = Bench(dropout=0.2)
    torch.manual_seed(1)
    expected = whole.events(num_steps=6, schedule="linear")

    first = Bench(dropout=0.2)
    torch.manual_seed(1)
    first.events(num_steps=6, folder=tmp_path, save="steps", save_every_steps=3)
    # The killed process wrote step 3 and no more.
    second = Bench(dropout=0.2, batch=8)
    torch.manual_seed(99)
    state = load_checkpoint(tmp_path / "step-000003", second.model, second.optimizer.optimizer)
    second.scores = iter([0.0, 1.0, 2.0])
    rest = second.events(num_steps=6, state=state)

    assert_same(second.weights(), whole.weights())
    assert [event.loss for event in rest if isinstance(event, Stepped)] == [
        event.loss for event in expected if isinstance(event, Stepped)
    ][3:]
    scores = [event for event in rest if isinstance(event, Evaluated)]
    wanted = [event for event in expected if isinstance(event, Evaluated)]
    assert scores[0].train_loss == wanted[0].train_loss


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    bench = Bench()
    bench.events(num_steps=4, folder=tmp_path)
    (tmp_path / ".step-000009.partial").mkdir()
    (tmp_path / "step-000009").mkdir()

    assert [path.name for path in checkpoints(tmp_path)] == ["step-000004"]


def test_the_latest_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        folder = tmp_path / f"step-{step:06d}"
        folder.mkdir()
        (folder / "state.json").touch()
    prune(tmp_path, keep=2, best_step=1)

    assert [path.name for path in checkpoints(tmp_path)] == [
        "step-000001", "step-000005", "step-000006",
    ]  # fmt: skip


def test_a_copy_of_a_checkpoint_is_none_and_is_let_alone(tmp_path: Path) -> None:
    copies = ["step-000001-good", "step-000002 (copy)"]
    for name in ("step-000001", "step-000002", *copies):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").touch()
    (tmp_path / "step-notes").mkdir()
    prune(tmp_path, keep=1, best_step=None)
    remove_remains(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000001-good", "step-000002", "step-000002 (copy)", "step-notes",
    ]  # fmt: skip
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000002"]


def test_no_checkpoint_is_pickled(tmp_path: Path) -> None:
    Bench().events(num_steps=4, folder=tmp_path)
    suffixes = {path.suffix for path in (tmp_path / "step-000004").iterdir()}

    assert suffixes == {".safetensors", ".json"}


def test_patience_that_was_lost_before_resuming_trains_no_further() -> None:
    bench = Bench()
    events = bench.events(num_steps=100, patience=2, state=LoopState(step=8, without_gain=2))

    (finished,) = events
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.num_steps) == ("early stopping", 8)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    bench = Bench()
    with torch.no_grad():
        bench.model.final_logits_bias[0, 7] = float("nan")
    before = bench.weights()
    with pytest.raises(DivergedError) as caught:
        bench.events(learning_rate=0.5, warmup_steps=2)

    assert str(caught.value) == (
        "Step 1: the loss is nan, at a learning rate of 0.\n"
        "Expected finite and moderate numbers: the training has diverged, the update was not "
        "made.\n"
        "Start again with a lower rate, such as training.learning_rate=0.2."
    )
    assert_same(bench.weights(), before)


def test_a_gradient_that_is_not_finite_stops_unless_a_scaler_skips_the_update() -> None:
    def spoiled(scaler: torch.amp.GradScaler | None) -> Bench:
        bench = Bench(scaler=scaler)
        bench.model.model.shared.weight.register_hook(lambda grad: grad * float("inf"))
        return bench

    with pytest.raises(DivergedError) as caught:
        spoiled(None).events(learning_rate=0.5)
    happened = "Step 1: the gradient's norm is inf, at a learning rate of 0.5."
    assert caught.value.happened == happened
    bench = spoiled(torch.amp.GradScaler("cpu"))
    before = bench.weights()
    events = bench.events(num_steps=2, evaluate="none")
    assert len([event for event in events if isinstance(event, Stepped)]) == 2
    assert_same(bench.weights(), before)


def test_preparing_for_bf16_leaves_the_model_s_own_forward_in_fp32(marian: Path) -> None:
    codec, model = load_codec(marian), load_seq2seq(marian)
    lines = ["Open the file", "The kernel restarts"]

    def scores() -> list[list[float]]:
        found = TransformersEngine(model, codec).generate(lines, num_beams=2, num_hypotheses=2)
        return [[hypothesis.score for hypothesis in row] for row in found]

    before = scores()
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    optimizer = build_optimizer(model, learning_rate=1.0, weight_decay=0.0)
    wrapped, _ = prepare(accelerator, model, optimizer)

    assert scores() == before
    task = TranslationTask(model)
    features = tiny_features(4)
    with task.prepared(model):
        exact = token_loss(wrapped, task, features, CPU)
        rounded = token_loss(wrapped, task, features, CPU, computing=accelerator.autocast)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("accumulation", [1, 3])
def test_bf16_copies_learn_like_fp32(accumulation: int) -> None:
    def learned(computes_in: torch.dtype | None) -> tuple[float, float]:
        bench = Bench(accumulation=accumulation, computes_in=computes_in)
        events = bench.events(num_steps=100, evaluate="none")
        losses = [event.loss for event in events if isinstance(event, Stepped)]
        return losses[0], sum(losses[-5:]) / 5

    before, exact = learned(None)
    _, rounded = learned(torch.bfloat16)
    assert exact < before / 2
    assert rounded == pytest.approx(exact, rel=0.05)
