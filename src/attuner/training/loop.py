"""The training loop: a generator of events, from top to bottom.

It knows no task, no file format and no disk: what it needs comes in as functions. What it
yields, listeners see; they cannot steer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from attuner.data.batching import BatchPlan, Update
from attuner.errors import RunError
from attuner.training.events import Evaluated, Event, Finished, Saved, Stepped
from attuner.training.optimizer import learning_rate_at

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import Tensor

    from attuner.data.features import Ints
    from attuner.tasks.task import Batch
    from attuner.training.adamw import AdamW
    from attuner.training.averaging import Ema

# Scores of which less is better.
FALLING = frozenset({"loss", "ter", "mae"})


@dataclass(slots=True)
class LoopState:
    """Where the loop stands; with weights, optimizer and random states, all that resuming needs.

    Attributes:
        step: Updates done.
        plan: State of the batch plan.
        num_examples: Examples seen.
        loss_sum: Training loss since the last evaluation, in nats, summed over tokens.
        loss_tokens: Target tokens since the last evaluation.
        best: Best validation score so far, or None.
        best_step: Update after which it was reached.
        without_gain: Evaluations since the best.
        seconds: Time in the loop so far.
        train_seconds: Time in updates alone.
    """

    step: int = 0
    plan: dict[str, int] = field(default_factory=lambda: {"epoch": 0, "position": 0})
    num_examples: int = 0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    best: float | None = None
    best_step: int | None = None
    without_gain: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The state as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Settings:
    """The numbers of the recipe that the loop goes by; see `recipe.Training`."""

    num_steps: int
    learning_rate: float
    schedule: str = "linear"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    evaluate: str = "epoch"
    evaluate_every_steps: int | None = None
    save: str = "epoch"
    save_every_steps: int | None = None
    best_metric: str = "chrf"
    patience: int | None = None
    min_delta: float = 0.0


class DivergedError(RunError):
    """A loss or gradient is no longer a number, so that the weights are about to be none."""


Evaluate = Callable[[], tuple[Mapping[str, float], Mapping[str, str]]]
Save = Callable[[LoopState, bool], Path]


def train_loop(
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    plan: BatchPlan,
    accelerator: Accelerator,
    *,
    collate: Callable[[Ints], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    evaluate: Evaluate,
    save: Save,
    settings: Settings,
    ema: Ema | None = None,
    state: LoopState | None = None,
) -> Iterator[Event]:
    """Train, and yield what happens.

    Args:
        model: As `accelerator.prepare` returned it.
        optimizer: Likewise, around an `AdamW`.
        plan: The order of updates.
        accelerator: Device, precision, processes.
        collate: Rows of a micro-batch → tensors.
        loss: Model and micro-batch → summed loss.
        evaluate: Scores of the validation examples, and their signatures.
        save: Writes a checkpoint (the second argument: it is the best so far), returns its folder.
        settings: The numbers.
        ema: The running mean of the weights, where there is one.
        state: Where to go on from.

    Yields:
        Stepped after each update, Evaluated and Saved when due, Finished at the end.

    Raises:
        DivergedError: The loss or the gradient is not finite; the update is not made.
    """
    state = state or LoopState()
    plan.restore(state.plan)
    model.train()
    started = time.perf_counter() - state.seconds
    updates = iter(plan)
    while state.step < settings.num_steps and not _is_out_of_patience(state, settings):
        began = time.perf_counter()
        update = next(updates)
        rate = _set_learning_rate(optimizer, state.step, settings)
        loss_sum, norm = _gradient(
            model, optimizer, accelerator, update, collate, loss, settings.max_grad_norm
        )
        _require_finite(loss_sum, norm, state.step + 1, rate, settings, accelerator)
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        if ema is not None:
            ema.update(state.step)
        state.plan = plan.state()
        state.num_examples += len(update.rows)
        state.loss_sum += loss_sum
        state.loss_tokens += update.num_target_tokens
        state.train_seconds += time.perf_counter() - began
        state.seconds = time.perf_counter() - started
        yield Stepped(
            step=state.step,
            num_steps=settings.num_steps,
            epoch=update.epoch,
            loss=loss_sum / update.num_target_tokens,
            learning_rate=rate,
            grad_norm=norm,
            num_examples=len(update.rows),
            num_target_tokens=update.num_target_tokens,
            seconds=state.seconds,
        )
        is_last = state.step == settings.num_steps
        is_best = False
        if _is_due(settings.evaluate, settings.evaluate_every_steps, state.step, update, is_last):
            event = _evaluate(model, evaluate, state, settings, update.epoch)
            state.seconds = time.perf_counter() - started
            is_best = event.is_best
            yield event
        if (
            is_best
            or _is_out_of_patience(state, settings)
            or _is_due(settings.save, settings.save_every_steps, state.step, update, is_last)
        ):
            yield Saved(state.step, save(state, is_best), is_best)
            state.seconds = time.perf_counter() - started
    yield Finished(
        reason="early stopping" if _is_out_of_patience(state, settings) else "done",
        num_steps=state.step,
        num_examples=state.num_examples,
        seconds=state.seconds,
        train_seconds=state.train_seconds,
        best_step=state.best_step,
    )


def _gradient(
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
    update: Update,
    collate: Callable[[Ints], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    max_grad_norm: float,
) -> tuple[float, float]:
    """Leave an update's clipped gradient with the optimizer; returns the summed loss and its norm.

    Both are over all processes. The gradient is that of the mean over the update's real target
    tokens, whatever it was cut into. Processes average their gradients, hence the factor.
    """
    weights: AdamW = optimizer.optimizer
    scale = accelerator.num_processes / update.num_target_tokens
    total = torch.zeros((), device=accelerator.device)
    last = len(update.micro_batches) - 1
    with weights.computing():
        for number, rows in enumerate(update.micro_batches):
            is_empty = len(rows) == 0
            batch = collate(update.rows[:1] if is_empty else rows)
            with _synced(accelerator, model, number == last):
                with accelerator.autocast():
                    summed = loss(model, batch) * (0.0 if is_empty else 1.0)
                # With fp16 the scaler wants numbers of a moderate size; else the optimizer scales.
                accelerator.backward(summed * scale if accelerator.scaler else summed)
            weights.collect()
            total += summed.detach()
    limit = max_grad_norm or float("inf")
    if accelerator.scaler is None:
        norm = weights.clip(limit, scale=scale)
    else:  # which has scaled the gradient, and scales it back first
        norm = float(accelerator.clip_grad_norm_(model.parameters(), limit))
    return float(accelerator.reduce(total, "sum")), norm


def _require_finite(
    loss_sum: float,
    norm: float,
    step: int,
    rate: float,
    settings: Settings,
    accelerator: Accelerator,
) -> None:
    """Stop before an update that would make all weights NaN.

    With fp16 a gradient may overflow: the scaler then skips the update and scales less.
    """
    if not math.isfinite(loss_sum):
        what = f"the loss is {loss_sum}"
    elif not math.isfinite(norm) and accelerator.scaler is None:
        what = f"the gradient's norm is {norm}"
    else:
        return
    raise DivergedError(
        f"Step {step}: {what}, at a learning rate of {rate:g}.",
        "Expected finite numbers: the training has diverged, the update was not made.",
        "Start again with a lower rate, such as "
        f"training.learning_rate={settings.learning_rate / 3:.1g}.",
    )


def _is_out_of_patience(state: LoopState, settings: Settings) -> bool:
    return settings.patience is not None and state.without_gain >= settings.patience


def _synced(accelerator: Accelerator, model: nn.Module, is_last: bool) -> Any:
    """Exchange gradients between processes once an update: after its last micro-batch."""
    return nullcontext() if is_last else accelerator.no_sync(model)


def _set_learning_rate(optimizer: AcceleratedOptimizer, step: int, settings: Settings) -> float:
    rate = learning_rate_at(
        step,
        peak=settings.learning_rate,
        num_steps=settings.num_steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    return rate


def _is_due(when: str, every: int | None, step: int, update: Update, is_last: bool) -> bool:
    if when == "none":
        return False
    if when == "epoch":
        return is_last or update.epoch.is_integer()
    assert every is not None
    return is_last or step % every == 0


def _evaluate(
    model: nn.Module, evaluate: Evaluate, state: LoopState, settings: Settings, epoch: float
) -> Evaluated:
    """Score the validation examples and keep book of the best."""
    began = time.perf_counter()
    scores, signatures = evaluate()
    model.train()
    value = scores[settings.best_metric]
    is_best = is_better(value, state.best, settings.best_metric, settings.min_delta)
    if is_best:
        state.best, state.best_step, state.without_gain = value, state.step, 0
    else:
        state.without_gain += 1
    event = Evaluated(
        when="epoch" if settings.evaluate == "epoch" else "steps",
        split="validation",
        step=state.step,
        epoch=epoch,
        scores=scores,
        signatures=signatures,
        train_loss=state.loss_sum / max(1, state.loss_tokens),
        is_best=is_best,
        seconds=time.perf_counter() - began,
    )
    state.loss_sum, state.loss_tokens = 0.0, 0
    return event


def is_better(value: float, best: float | None, metric: str, min_delta: float = 0.0) -> bool:
    """Whether `value` is better than `best` by more than `min_delta`; NaN never is."""
    if best is None:
        return value == value
    return best - value > min_delta if metric in FALLING else value - best > min_delta
