"""The training loop: a generator of events, from top to bottom.

It knows no task, no file format and no disk: what it needs comes in as functions. What it
yields, listeners see; they cannot steer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.batching import BatchPlan, Update
from attuner.errors import RunError
from attuner.evaluation.known_metrics import higher_is_better
from attuner.training.events import BadLoss, Evaluated, Event, Finished, Saved, Split, Stepped
from attuner.training.gradient import Gradient, OutOfMemoryError, leave_gradient
from attuner.training.optimizer import learning_rate_at, set_learning_rate
from attuner.training.processes import ALONE, Processes

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import Tensor, nn

    from attuner.data.features import Ints
    from attuner.tasks.task import Batch
    from attuner.training.averaging import Ema

# A loss has exploded beyond so many nats a target token (guessing among a million words takes 14)
# and so many times the lowest so far: random weights of T5 begin above 150.
EXPLODED, EXPLODED_TIMES = 100.0, 10.0
_MOST_NAMED = 10


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
        seconds_before: Time before the loop, of each start that the state has come from: reading,
            encoding, first scores. The loop leaves it as it is.
        num_skipped: Updates not made, as their loss was bad.
        num_splits: Micro-batches cut in two, as memory ran out.
        lowest: Lowest loss of an update so far, in nats a target token, or None.

    >>> LoopState(step=3, plan={"epoch": 0, "position": 3}).to_json()["plan"]
    {'epoch': 0, 'position': 3}
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
    seconds_before: float = 0.0
    num_skipped: int = 0
    num_splits: int = 0
    lowest: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The state as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Settings:
    """The numbers of the recipe that the loop goes by; see `recipe.Training`.

    Attributes:
        exploded: Mean loss beyond which an update is bad; None where a loss has no usual size.
    """

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
    on_bad_loss: str = "stop"
    max_bad_losses: int = 10
    exploded: float | None = EXPLODED


class DivergedError(RunError):
    """A loss or gradient is no longer a number, or has exploded; weights would be next."""


Evaluate = Callable[[], tuple[Mapping[str, float], Mapping[str, str]]]
Save = Callable[[LoopState, bool], Path]
Name = Callable[["Ints"], Sequence[str]]


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
    name: Name = lambda rows: (),
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
) -> Iterator[Event]:
    """Train, and yield what happens.

    Args:
        model: As `accelerator.prepare` returned it.
        optimizer: Likewise, around an `AdamW`.
        plan: The order of updates.
        accelerator: Device and precision.
        collate: Rows of a micro-batch → tensors.
        loss: Model and micro-batch → summed loss.
        evaluate: Scores of the validation examples, and their signatures.
        save: Writes a checkpoint (the second argument: it is the best so far), returns its folder.
        settings: The numbers.
        ema: The running mean of the weights, where there is one.
        state: Where to go on from.
        name: Says where the examples of rows come from.
        should_stop: Is asked before each update; the loop then ends, with nothing left undone.
            On all processes it says the same.
        processes: Who shares the updates.

    Yields:
        Stepped after each update (BadLoss where it is skipped, Split where memory ran out on the
        way), Evaluated and Saved when due, Finished at the end, unless it was asked to stop.

    Raises:
        DivergedError: The loss or the gradient is bad, and is not to be skipped; the update is not
            made.
        RunError: A single example does not fit into memory, or a micro-batch of a sharded model.
    """
    state = state or LoopState()
    plan.restore(state.plan)
    model.train()
    started = time.perf_counter() - state.seconds
    updates = iter(plan)
    while state.step < settings.num_steps and not _is_out_of_patience(state, settings):
        if should_stop():
            return
        began = time.perf_counter()
        update = next(updates)
        rate = _set_learning_rate(optimizer, state.step, settings)
        try:
            gradient = leave_gradient(
                model, optimizer, accelerator, update,
                collate=collate, loss=loss, max_grad_norm=settings.max_grad_norm,
                processes=processes,
            )  # fmt: skip
        except OutOfMemoryError as error:
            raise _too_long(error, state.step + 1, name) from error
        mean = gradient.loss_sum / update.num_target_tokens
        fault = _fault(
            gradient,
            mean,
            state.lowest,
            settings.exploded,
            has_scaler=accelerator.scaler is not None,
        )
        if not fault:
            optimizer.step()
        elif accelerator.scaler is not None:  # it has scaled this gradient back: begin the next one
            accelerator.scaler.update()
        optimizer.zero_grad()
        state.step += 1
        state.plan = plan.state()
        if gradient.num_splits:
            state.num_splits += gradient.num_splits
            yield Split(state.step, gradient.num_splits, len(update.rows), state.num_splits)
        if fault:
            is_skipped = _may_skip(state, settings)
            yield BadLoss(state.step, fault, rate, tuple(name(update.rows)), is_skipped)
            if not is_skipped:
                raise _diverged(fault, update, rate, state, settings, name)
            state.num_skipped += 1
        else:
            if ema is not None:
                ema.update(state.step)
            state.num_examples += len(update.rows)
            state.loss_sum += gradient.loss_sum
            state.lowest = mean if state.lowest is None else min(mean, state.lowest)
            state.loss_tokens += update.num_target_tokens
            state.train_seconds += time.perf_counter() - began
            state.seconds = time.perf_counter() - started
            yield Stepped(
                step=state.step,
                num_steps=settings.num_steps,
                epoch=update.epoch,
                loss=mean,
                learning_rate=rate,
                grad_norm=gradient.norm,
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
        num_skipped=state.num_skipped,
        num_splits=state.num_splits,
    )


def _fault(
    gradient: Gradient,
    mean: float,
    lowest: float | None,
    exploded: float | None,
    *,
    has_scaler: bool,
) -> str:
    """What is wrong with a loss or its gradient, in words; "" where nothing is.

    With fp16 a gradient may overflow: the scaler then skips the update and scales less.
    """
    if not math.isfinite(gradient.loss_sum):
        return f"the loss is {gradient.loss_sum}"
    if (
        exploded is not None
        and lowest is not None
        and mean > max(exploded, EXPLODED_TIMES * lowest)
    ):
        return f"the loss is {mean:.4g} nats a target token, after {lowest:.4g}"
    if not math.isfinite(gradient.norm) and not has_scaler:
        return f"the gradient's norm is {gradient.norm}"
    return ""


def _may_skip(state: LoopState, settings: Settings) -> bool:
    return settings.on_bad_loss == "skip" and state.num_skipped < settings.max_bad_losses


def _diverged(
    fault: str, update: Update, rate: float, state: LoopState, settings: Settings, name: Name
) -> DivergedError:
    """The error that stops before an update that would spoil all weights."""
    skipped = f" {state.num_skipped} such updates were skipped before." if state.num_skipped else ""
    return DivergedError(
        f"Step {state.step}: {fault}, at a learning rate of {rate:g}.{_named(name(update.rows))}",
        "Expected finite and moderate numbers: the training has diverged, the update was not made."
        + skipped,
        "Start again with a lower rate, such as "
        f"training.learning_rate={settings.learning_rate / 3:.1g}.",
    )


def _too_long(error: OutOfMemoryError, step: int, name: Name) -> RunError:
    if len(error.rows) > 1:
        return RunError(
            f"Step {step}: memory ran out on a micro-batch of {len(error.rows)} examples.",
            "A micro-batch of a sharded model is not cut in two: all processes gather its layers "
            "together, and the others are amid that.",
            "Start again with more of them, training.accumulation=2, or with "
            "training.gradient_checkpointing=true.",
        )
    (example, *_) = (*name(error.rows), f"row {error.rows[0]}")
    return RunError(
        f"Step {step}: memory ran out on a single example, {example}.",
        "A micro-batch that does not fit is cut in two; one example cannot be cut.",
        "Set a lower data.max_source_tokens and data.max_target_tokens, or "
        "training.gradient_checkpointing=true.",
    )


def _named(names: Sequence[str]) -> str:
    r"""The examples of a batch, on a line of their own.

    >>> _named(["a.po:1", "a.po:7"])
    '\nIts examples: a.po:1, a.po:7.'
    """
    if not names:
        return ""
    more = len(names) - _MOST_NAMED
    listed = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"\nIts examples: {listed}."


def _is_out_of_patience(state: LoopState, settings: Settings) -> bool:
    return settings.patience is not None and state.without_gain >= settings.patience


def _set_learning_rate(optimizer: AcceleratedOptimizer, step: int, settings: Settings) -> float:
    rate = learning_rate_at(
        step,
        peak=settings.learning_rate,
        num_steps=settings.num_steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
    )
    set_learning_rate(optimizer, rate)
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
    return (value - best if higher_is_better(metric) else best - value) > min_delta
