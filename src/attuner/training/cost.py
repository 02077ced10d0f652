"""How long a run will take and how much memory it needs, measured on a few real updates."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.kernels import describe
from attuner.training.events import Listener, Noted, Progressed, Stepped

if TYPE_CHECKING:
    from torch import nn

    from attuner.data.batching import BatchPlan
    from attuner.data.features import Features
    from attuner.recipe import Recipe
    from attuner.tasks.task import Task
    from attuner.training.jobs import Job
    from attuner.training.setup import Device

# The first update also allocates memory and fills caches: it is not timed.
_UPDATES = 4
_ENOUGH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run will take here.

    Attributes:
        num_steps: Updates in all.
        batch: Size of an update in words.
        device: Where it computes, such as "cpu".
        precision: Number format of the matrix products.
        kernels: Native ones or torch's, with the reason; "" on a GPU.
        batches: "packed" or "padded", with the reason.
        num_parameters: Parameters of the model.
        measured_steps: Updates that were timed.
        seconds_a_step: Seconds of one update of usual size.
        training_seconds: Seconds in updates.
        evaluation_seconds: Seconds for scoring validation and test, before, while and after
            training.
        peak_memory_bytes: Most memory the process held while measuring; the accelerator's
            where there is one.
        notes: Choices that were made, such as another precision than the one asked for.
    """

    num_steps: int
    batch: str
    device: str
    precision: str
    kernels: str
    batches: str
    num_parameters: int
    measured_steps: int
    seconds_a_step: float
    training_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    notes: tuple[str, ...] = ()


def measure_cost(recipe: Recipe, job: Job, model: nn.Module, emit: Listener) -> Cost:
    """Score some examples and do a few updates as the run would do them.

    Args:
        recipe: The recipe.
        job: Its task, with the data read.
        model: Its model, whose weights are changed.
        emit: Is told of progress.

    Raises:
        UserError: There is nothing to train on.
    """
    from attuner.training import setup

    notes: list[str] = []
    setup.set_seeds(recipe.training.seed)
    job.encode()
    notes += job.choose_trained(model)
    device = setup.build_device(
        recipe,
        lambda event: notes.append(event.text) if isinstance(event, Noted) else None,
        model_type=str(model.config.model_type),  # type: ignore[union-attr]
    )
    task, features = job.build_task(model), job.features
    plan = setup.build_plan(recipe, features, is_packed=task.is_packed)
    num_steps = recipe.training.max_steps or plan.num_updates(recipe.training.epochs)
    notes += setup.warmup_note(recipe, num_steps)
    seconds_an_example = job.seconds_of_scoring(model, task)
    steps = _timed_steps(recipe, model, features, task, plan, device, num_steps, emit)
    seconds, tokens = sum(s for s, _ in steps), sum(t for _, t in steps)
    mean_tokens = features.target_lengths.sum() / max(1, plan.num_updates(1))
    seconds_a_step = seconds / max(1, tokens) * float(mean_tokens)
    return Cost(
        num_steps=num_steps,
        batch=setup.describe_batch(recipe, job.unit),
        device=str(device.accelerator.device),
        precision=device.precision,
        kernels=describe(device.accelerator.device.type),
        batches=task.batches,
        num_parameters=setup.num_parameters(model),
        measured_steps=len(steps),
        seconds_a_step=seconds_a_step,
        training_seconds=seconds_a_step * num_steps,
        evaluation_seconds=seconds_an_example
        * _num_scored(recipe, job, num_steps, plan.num_epochs(num_steps)),
        peak_memory_bytes=_peak_memory_bytes(device.accelerator.device.type),
        notes=tuple(notes),
    )


def _timed_steps(
    recipe: Recipe,
    raw_model: nn.Module,
    features: Features,
    task: Task,
    plan: BatchPlan,
    device: Device,
    num_steps: int,
    emit: Listener,
) -> list[tuple[float, int]]:
    """Seconds and target tokens of a few updates; nothing is evaluated or saved."""
    from attuner.training import setup
    from attuner.training.loop import train_loop
    from attuner.training.optimizer import build_optimizer

    optimizer = build_optimizer(
        raw_model,
        learning_rate=recipe.training.learning_rate,
        weight_decay=recipe.training.weight_decay,
        computes_in=device.computes_in,
        layer_decay=recipe.training.layer_decay,
    )
    accelerator = device.accelerator
    model, prepared = setup.prepare(accelerator, raw_model, optimizer)
    timed: list[tuple[float, int]] = []
    with task.prepared(raw_model):
        events = train_loop(
            model,
            prepared,
            plan,
            accelerator,
            collate=setup.collate_training(recipe, task, features, accelerator.device),
            loss=task.loss,
            evaluate=lambda: ({}, {}),
            save=lambda state, is_best: Path(),
            settings=setup.loop_settings(recipe, max(num_steps, _UPDATES + 1), False),
        )
        for event in events:
            if isinstance(event, Stepped):
                timed.append((event.seconds, event.num_target_tokens))
                emit(Progressed("Measuring updates", len(timed), _UPDATES))
                if len(timed) == _UPDATES or event.seconds > _ENOUGH_SECONDS:
                    break
    ends = [seconds for seconds, _ in timed]
    spans = [end - begin for begin, end in zip([0.0, *ends], ends, strict=False)]
    steps = [(span, tokens) for span, (_, tokens) in zip(spans, timed, strict=True)]
    return steps[1:] or steps


def _num_scored(recipe: Recipe, job: Job, num_steps: int, num_epochs: float) -> int:
    """Examples scored before training (all), while (validation) and after (the final ones)."""
    options = recipe.training
    if options.evaluate == "none":
        evaluations = 0
    elif options.evaluate_every_steps is not None:
        evaluations = -(-num_steps // options.evaluate_every_steps)
    else:
        evaluations = -int(-num_epochs // 1)
    split = job.counts["split"]
    validation, test = split["validation"], split["test"]
    return validation + test + evaluations * validation + (test or validation)


def _peak_memory_bytes(device: str) -> int:
    """Most memory held so far: the accelerator's, or the process's on CPU."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere
