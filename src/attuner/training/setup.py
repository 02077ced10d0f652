"""From a recipe to the things that the loop works on: weights, device, order of updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attuner.models.precision import resolve_precision
from attuner.options.task import ClassificationTask
from attuner.training.events import Listener, Noted
from attuner.training.launch import computes_on_processor
from attuner.training.loop import EXPLODED, Settings
from attuner.training.memory import reuse_freed_memory
from attuner.training.plans import DEFAULT_BATCH_TOKENS, plan_updates
from attuner.training.processes import ALONE, Processes
from attuner.training.scoring import GenerationOptions

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import nn

    from attuner.data.batching import BatchPlan
    from attuner.data.features import Features, Ints
    from attuner.recipe import Recipe
    from attuner.tasks.task import Batch, FixedShape, Task

# Source tokens that engines allow where they are not told.
ENGINE_SOURCE_TOKENS = 512


def choose_trained(
    recipe: Recipe, model: nn.Module, *, whole: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """Put the recipe's adapter on, or freeze parts; returns lines that say what is trained.

    Args:
        recipe: The recipe.
        model: The bare model.
        whole: Says by its name which weight is trained beside an adapter, such as a new head.

    Raises:
        ModelError: See `models.adapters`, `models.freezing`, `models.recomputing`, `models.r_drop`.
    """
    options, lines = recipe.model, []
    if options.adapter is not None:
        from attuner.models.adapters import add_adapter

        settings = options.adapter.model_dump(exclude={"save"})
        names = add_adapter(model, **settings, whole=whole, seed=recipe.training.seed)
        lines.append(f"Adapter ({options.adapter.kind}) on {', '.join(names)}.")
    if options.freeze:
        from attuner.models.freezing import freeze

        takes_output = freeze(model, options.freeze)
        shared = ", and the output layer, which shares the embeddings' weights"
        lines.append(f"Frozen: {', '.join(options.freeze)}{shared if takes_output else ''}.")
    if lines:
        trained, total = num_parameters(model, trained_only=True), num_parameters(model)
        lines[-1] += f" Trained: {trained:,} of {total:,} parameters ({trained / total:.1%})."
    if recipe.training.gradient_checkpointing:
        from attuner.models.recomputing import recompute_layers

        recompute_layers(model)
    if recipe.training.r_drop:
        from attuner.models.r_drop import require_dropout

        require_dropout(model)
    return lines


@dataclass(frozen=True, slots=True)
class Device:
    """What a run computes on, and in which number format.

    Attributes:
        accelerator: Device, mixed precision, processes.
        precision: `fp32`, `bf16` or `fp16`.
        computes_in: On a processor in bf16: the type of the copies of the weights that forward
            and backward use. Elsewhere None: autocast rounds as it goes.
    """

    accelerator: Accelerator
    precision: str
    computes_in: torch.dtype | None


def build_device(recipe: Recipe, emit: Listener, *, model_type: str) -> Device:
    """Device and precision, chosen automatically where the recipe does not say.

    Args:
        recipe: The recipe.
        emit: Is told where it is another precision than the one asked for.
        model_type: The model's family, of which some overflow in fp16.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = torch.device("cpu" if computes_on_processor(recipe.training.device) else "cuda")
    precision, note = resolve_precision(recipe.training.precision, device, model_type)
    if note:
        emit(Noted(note))
    # accelerate keeps its state for the whole process; a second run may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    has_copies = device.type == "cpu" and precision == "bf16"
    if device.type == "cpu":
        reuse_freed_memory()
    mixed = "no" if precision == "fp32" or has_copies else precision
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)
    return Device(accelerator, precision, torch.bfloat16 if has_copies else None)


def prepare(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """Hand model and optimizer to accelerate, the model's own `forward` left as it is.

    With mixed precision accelerate would patch `forward`, so that whoever generates from the
    bare model had rounded numbers, too. The loop and the token loss enter `autocast` themselves.
    Nor is the model wrapped where there are several processes: see `gradient_sum`.
    """
    mixed, accelerator.native_amp = accelerator.native_amp, False
    try:
        prepared: nn.Module = accelerator.prepare_model(model, evaluation_mode=True)
    finally:
        accelerator.native_amp = mixed
    return prepared, accelerator.prepare_optimizer(optimizer)


def build_plan(
    recipe: Recipe, features: Features, *, is_packed: bool, processes: Processes = ALONE
) -> BatchPlan:
    """The order of updates that the recipe asks for; each process has its share of each."""
    options = recipe.training
    return plan_updates(
        features,
        is_cut=not is_packed and not options.fixed_shapes,
        batch_tokens=options.batch_tokens,
        batch_examples=options.batch_examples,
        accumulation=options.accumulation,
        seed=options.seed,
        processes=processes,
    )


def warmup_note(recipe: Recipe, num_steps: int) -> list[str]:
    """A line where the learning rate never gets to what the recipe says."""
    warmup = _warmup_steps(recipe.training.warmup_steps, num_steps)
    if warmup < num_steps:
        return []
    return [
        f"training.warmup_steps={warmup} are as many as the run's {num_steps:,} steps or more: the "
        f"learning rate never reaches {recipe.training.learning_rate:g}."
    ]


def collate_training(
    recipe: Recipe,
    task: Task,
    features: Features,
    device: torch.device,
    *,
    num_processes: int = 1,
) -> Callable[[Ints], Batch]:
    """Rows of a micro-batch → tensors; R-Drop has each row twice, one after the other."""
    copies = 2 if recipe.training.r_drop else 1
    shape = fixed_shape(recipe, features, num_processes) if recipe.training.fixed_shapes else None
    return lambda rows: task.collate(features, rows.repeat(copies), device, shape)


def fixed_shape(recipe: Recipe, features: Features, num_processes: int = 1) -> FixedShape:
    """The shape of all micro-batches: as many rows as any has, and the longest texts of all."""
    from attuner.tasks.task import FixedShape

    options = recipe.training
    assert options.batch_examples is not None
    share = math.ceil(options.batch_examples / num_processes)
    return FixedShape(
        math.ceil(share / options.accumulation),
        int(features.source_lengths.max()),
        int(features.target_lengths.max()),
    )


def describe_batch(recipe: Recipe, unit: str) -> str:
    """The size of an update in words; `unit` is what it counts where it does not count examples."""
    if recipe.training.batch_examples is not None:
        return f"{recipe.training.batch_examples} examples"
    return f"{recipe.training.batch_tokens or DEFAULT_BATCH_TOKENS} {unit}"


def loop_settings(recipe: Recipe, num_steps: int, has_validation: bool) -> Settings:
    """The recipe's numbers as the loop takes them."""
    options = recipe.training
    stopping = options.early_stopping
    return Settings(
        num_steps=num_steps,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        warmup_steps=_warmup_steps(options.warmup_steps, num_steps),
        max_grad_norm=options.max_grad_norm,
        evaluate=options.evaluate if has_validation else "none",
        evaluate_every_steps=options.evaluate_every_steps,
        save=options.save,
        save_every_steps=options.save_every_steps,
        best_metric=recipe.best_metric,
        patience=stopping.patience if stopping else None,
        min_delta=stopping.min_delta if stopping else 0.0,
        on_bad_loss=options.on_bad_loss,
        max_bad_losses=options.max_bad_losses,
        exploded=EXPLODED if _has_usual_loss(recipe) else None,
    )


def _has_usual_loss(recipe: Recipe) -> bool:
    """Whether the loss of a target is of some nats.

    The squared error of a rating has the rating's size; of a rare label, whose weight may be a
    thousand times that of others, an update has few examples or none.
    """
    task = recipe.task
    return not isinstance(task, ClassificationTask) or (
        task.kind != "rating" and task.class_weights is None
    )


def _warmup_steps(wanted: float, num_steps: int) -> int:
    """Updates of warm-up; below 1 they are given as a share.

    >>> _warmup_steps(0.1, 250), _warmup_steps(100, 250)
    (25, 100)
    """
    return round(wanted * num_steps) if wanted < 1 else int(wanted)


def max_source_tokens(recipe: Recipe) -> int:
    """The longest source that the model is given when it is used: never less than it learned.

    0 where what engines allow is enough.
    """
    return told_to_engines(recipe.data.max_source_tokens)


def told_to_engines(longest: int) -> int:
    """The longest source, in tokens, as engines are told it: 0 where they allow as many."""
    return longest if longest > ENGINE_SOURCE_TOKENS else 0


def generation_options(recipe: Recipe) -> GenerationOptions:
    """The recipe's generation options as scoring takes them."""
    options = recipe.generation
    return GenerationOptions(
        engine=options.engine,
        quantization=options.quantization,
        num_beams=options.num_beams,
        max_new_tokens=options.max_new_tokens,
        whole_texts=recipe.text_task.whole_texts,
        max_source_tokens=max_source_tokens(recipe),
        metrics=tuple(recipe.text_task.metrics),
    )


def set_seeds(seed: int, processes: Processes = ALONE) -> None:
    """Seed torch (dropout) and Python, each process otherwise.

    The batch plan has its seed of its own.

    >>> import torch
    >>> set_seeds(42)
    >>> first = torch.rand(3)
    >>> set_seeds(42)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    import random

    import torch

    own = seed + processes.rank * 2**32
    random.seed(own)
    torch.manual_seed(own)


def num_parameters(model: Any, *, trained_only: bool = False) -> int:
    """Trained and frozen parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained_only)
