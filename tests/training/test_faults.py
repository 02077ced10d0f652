"""What can go wrong amid a run: losses that are none, memory that runs out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lessons import Tune
from test_loop import Bench, assert_same

from attuner.errors import RunError
from attuner.tasks.translation import TranslationTask
from attuner.training.events import BadLoss, Event, Finished, Split, Stepped
from attuner.training.loop import DivergedError
from attuner.training.run import resume

Loss = Callable[..., torch.Tensor]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the loss of some training updates something else; by the number of the forward."""
    inner = TranslationTask.loss
    calls = [0]

    def install(spoilt: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
        def loss(self: Any, model: Any, batch: Any) -> torch.Tensor:
            found = inner(self, model, batch)
            if not model.training:
                return found
            calls[0] += 1
            return spoilt(calls[0], found)

        monkeypatch.setattr(TranslationTask, "loss", loss)

    return install


def nan_at(*numbers: int) -> Callable[[int, torch.Tensor], torch.Tensor]:
    return lambda number, loss: loss * float("nan") if number in numbers else loss


def test_a_run_that_diverges_names_the_examples_and_the_last_good_checkpoint(
    tune: Tune, spoil: Callable[..., None], lessons: Path, tmp_path: Path
) -> None:
    spoil(nan_at(5))
    with pytest.raises(RunError) as caught:
        tune()

    folder = tmp_path / "runs/test"
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["step"], last["what"]) == ("badloss", 5, "the loss is nan")
    examples = last["examples"]
    assert all(address.startswith(f"{lessons}:") for address in examples)
    assert 1 <= len(examples) <= 4
    assert str(caught.value) == (
        f"Step 5: the loss is nan, at a learning rate of {0.003 * 5 / 9:g}.\n"
        f"Its examples: {', '.join(examples)}.\n"
        "Expected finite and moderate numbers: the training has diverged, the update was not "
        f"made. The last good checkpoint is {folder}/checkpoints/step-000003; all examples of the "
        f"update are in {folder}/metrics.jsonl.\n"
        "Start again with a lower rate, such as training.learning_rate=0.001, or go on without "
        f"such updates: attuner train --resume {folder} training.on_bad_loss=skip"
    )


def test_a_run_that_diverged_can_go_on_without_such_updates(
    tune: Tune, spoil: Callable[..., None], tmp_path: Path
) -> None:
    from attuner.recipe_loading import load_recipe

    spoil(nan_at(5, 7))  # the fifth forward is step 5; resumed after step 3, the seventh, too
    with pytest.raises(RunError):
        tune()
    folder = tmp_path / "runs/test"
    events: list[Event] = []
    recipe = load_recipe(folder / "recipe.yaml", ["training.on_bad_loss=skip"])
    resume(folder, recipe, listeners=[events.append])

    (bad,) = [event for event in events if isinstance(event, BadLoss)]
    assert (bad.step, bad.is_skipped) == (5, True)
    assert [e.step for e in events if isinstance(e, Stepped)] == [4, 6, 7, 8, 9]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    assert (finished.num_skipped, finished.num_steps) == (1, 9)
    assert load_recipe(folder / "recipe.yaml").training.on_bad_loss == "skip"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["changes"] == [
        {
            "after_step": 3, "option": "training.on_bad_loss", "before": "stop", "now": "skip",
            "is_exact": True,
        }
    ]  # fmt: skip


@contextmanager
def bad_losses(bench: Bench, factor: float, *steps: int) -> Iterator[None]:
    inner, calls = bench.task.loss, [0]

    def loss(model: Any, batch: Any) -> torch.Tensor:
        calls[0] += 1
        return inner(model, batch) * (factor if calls[0] in steps else 1.0)

    bench.task.loss = loss  # type: ignore[method-assign]
    yield


def test_a_skipped_update_leaves_the_weights_as_they_were() -> None:
    bench, stopped = Bench(), Bench()
    with bad_losses(bench, float("nan"), 2):
        events = bench.events(num_steps=2, evaluate="none", on_bad_loss="skip")
    with bad_losses(stopped, float("nan"), 2), pytest.raises(DivergedError):
        stopped.events(num_steps=2, evaluate="none")

    assert_same(bench.weights(), stopped.weights())
    assert [type(event).__name__ for event in events] == ["Stepped", "BadLoss", "Saved", "Finished"]
    assert events[-1].num_skipped == 1  # type: ignore[union-attr]


def test_after_an_update_that_is_skipped_in_fp16_the_next_is_made() -> None:
    bench = Bench(scaler=torch.amp.GradScaler("cpu", init_scale=1.0))
    bench.accelerator.native_amp = True  # as with a GPU that has no bf16
    bench.accelerator.state._mixed_precision = "fp16"
    bench.accelerator.autocast = nullcontext  # type: ignore[assignment]
    with bad_losses(bench, float("nan"), 2):
        events = bench.events(num_steps=3, evaluate="none", on_bad_loss="skip")

    assert [type(event).__name__ for event in events[:3]] == ["Stepped", "BadLoss", "Stepped"]
    assert all(bool(weight.isfinite().all()) for weight in bench.weights().values())


def test_more_bad_losses_than_allowed_stop_after_all() -> None:
    bench = Bench()
    with bad_losses(bench, float("nan"), 2, 3, 4), pytest.raises(DivergedError) as caught:
        bench.events(evaluate="none", on_bad_loss="skip", max_bad_losses=2)

    assert str(caught.value) == (
        "Step 4: the loss is nan, at a learning rate of 0.00625.\n"
        "Expected finite and moderate numbers: the training has diverged, the update was not "
        "made. 2 such updates were skipped before.\n"
        "Start again with a lower rate, such as training.learning_rate=0.003."
    )


def test_a_loss_that_explodes_is_a_bad_loss() -> None:
    bench = Bench()
    with bad_losses(bench, 1e3, 2), pytest.raises(DivergedError) as caught:
        bench.events(evaluate="none")
    assert re.fullmatch(
        r"Step 2: the loss is [\d.e+]+ nats a target token, after [\d.]+, at a learning rate of "
        r"0\.00875\.",
        caught.value.happened,
    )


def test_a_loss_that_is_high_from_the_start_has_not_exploded() -> None:
    bench = Bench()
    with bad_losses(bench, 1e3, *range(1, 5)):  # random weights of some families begin like this
        events = bench.events(num_steps=4, evaluate="none")
    assert [event.step for event in events if isinstance(event, Stepped)] == [1, 2, 3, 4]


def out_of_memory(kind: str) -> Exception:
    return {
        "cuda": torch.OutOfMemoryError("CUDA out of memory."),
        "processor": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        "python": MemoryError(),
    }[kind]


def forgetful(bench: Bench, limit: int, kind: str, *, amid_backward: bool) -> None:
    """Let memory run out on micro-batches of more than `limit` rows."""
    inner, collate = bench.task.loss, bench.task.collate
    rows_of = {"now": 0}

    def counting(features: Any, rows: Any, device: Any) -> Any:
        rows_of["now"] = len(rows)
        return collate(features, rows, device)

    def fail(gradient: torch.Tensor) -> torch.Tensor:
        raise out_of_memory(kind)

    def loss(model: Any, batch: Any) -> torch.Tensor:
        found = inner(model, batch)
        if rows_of["now"] > limit:
            if not amid_backward:
                raise out_of_memory(kind)
            # The decoder has its gradients by then: they must not be counted twice.
            hooks.append(model.model.encoder.layers[0].fc1.weight.register_hook(fail))
        else:
            while hooks:
                hooks.pop().remove()
        return found

    hooks: list[Any] = []
    bench.task.collate = counting  # type: ignore[method-assign]
    bench.task.loss = loss  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["cuda", "processor", "python"])
@pytest.mark.parametrize("amid_backward", [False, True])
@pytest.mark.parametrize("computes_in", [None, torch.bfloat16])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_micro_batch_that_does_not_fit_is_cut_in_two(
    kind: str, amid_backward: bool, computes_in: torch.dtype | None, accumulation: int
) -> None:
    whole = Bench(computes_in=computes_in, accumulation=accumulation, batch=12)
    expected = whole.events(num_steps=2, evaluate="none")
    cut = Bench(computes_in=computes_in, accumulation=accumulation, batch=12)
    forgetful(cut, 3, kind, amid_backward=amid_backward)
    events = cut.events(num_steps=2, evaluate="none")

    splits = [event for event in events if isinstance(event, Split)]
    assert [event.total for event in splits] == [3, 6]
    assert events[-1].num_splits == 6  # type: ignore[union-attr]
    pairs = zip(
        (event for event in expected if isinstance(event, Stepped)),
        (event for event in events if isinstance(event, Stepped)),
        strict=True,
    )
    near = 1e-5 if computes_in is None else 0.02
    for one, other in pairs:
        assert other.loss == pytest.approx(one.loss, rel=near)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=near)


def test_one_example_that_does_not_fit_is_named() -> None:
    bench = Bench()
    forgetful(bench, 0, "cuda", amid_backward=False)
    before = bench.weights()
    with pytest.raises(RunError) as caught:
        bench.events()

    (row,) = [word for word in caught.value.happened.split() if word.rstrip(".").isdigit()]
    assert int(row.rstrip(".")) in np.arange(30)
    assert str(caught.value) == (
        f"Step 1: memory ran out on a single example, row {row}\n"
        "A micro-batch that does not fit is cut in two; one example cannot be cut.\n"
        "Set a lower data.max_source_tokens and data.max_target_tokens, or "
        "training.gradient_checkpointing=true."
    )
    assert_same(bench.weights(), before)


def test_other_errors_of_the_loss_pass() -> None:
    bench = Bench()

    def loss(model: Any, batch: Any) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    bench.task.loss = loss  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes do not match"):
        bench.events()
