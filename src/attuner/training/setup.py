"""From a recipe to the things that the loop works on: model, tokens, features, device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError
from attuner.inference.settings import read_settings
from attuner.models.adapter_folder import base_folder, is_adapter
from attuner.models.codec import TextCodec
from attuner.models.exports import refuse_export
from attuner.models.loading import load_seq2seq, new_seq2seq, resolve_model
from attuner.models.precision import resolve_precision
from attuner.models.usage import load_codec_between, set_languages
from attuner.training.events import Event, Noted, fetching
from attuner.training.loop import EXPLODED, Settings
from attuner.training.memory import reuse_freed_memory
from attuner.training.plans import DEFAULT_BATCH_TOKENS, plan_updates
from attuner.training.processes import ALONE, Processes
from attuner.training.scoring import GenerationOptions
from attuner.training.targets import require_told_apart

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

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run starts from.

    Attributes:
        codec: The tokens, the task's prefix before source texts included.
        tokenizer_folder: Where the tokenizer's files lie.
        model_folder: Where the weights lie; None for random ones.
        name: The model as the recipe names it.
        config: With random weights: the configuration that they fill.
        max_positions: Longest text that the model has positions for, in tokens; None where its
            positions are relative.
    """

    codec: TextCodec
    tokenizer_folder: Path
    model_folder: Path | None
    name: str
    config: Mapping[str, Any] | None = None
    max_positions: int | None = None


def find_origin(recipe: Recipe, emit: Emit = lambda event: None) -> Origin | None:
    """Find the recipe's checkpoint and load its tokens, before any data are read.

    The weights are not touched. None where the vocabulary is learned from the data: see
    `training.vocabulary`.

    Args:
        recipe: The recipe.
        emit: Is told how much of a Hub id is fetched.

    Raises:
        ModelError: See `models.loading` and `models.codec`.
    """
    options = recipe.model
    if options.checkpoint is not None:
        folder = resolve_model(
            options.checkpoint,
            revision=options.revision,
            progress=lambda done, total: emit(fetching(done, total)),
        )
        if options.adapter is not None and options.adapter.save == "separate":
            _require_whole(folder)
        task = recipe.text_task
        origin = origin_in(folder, options.checkpoint, *task.told_languages, task.prefix)
        require_told_apart(recipe, origin.codec)
        return origin
    if options.tokenizer is None:
        return None
    assert options.config is not None
    folder = Path(options.tokenizer)  # a tokenizer need not have a model beside it
    if not folder.is_dir():
        folder = resolve_model(options.tokenizer)
    return origin_from_scratch(recipe, options.config, folder)


def origin_in(
    folder: Path, name: str, source: str | None, target: str | None, prefix: str | None
) -> Origin:
    """The origin that a checkpoint is.

    Args:
        folder: Where it lies: a model folder, or that of an adapter.
        name: What it is called.
        source: Language of the sources; the folder's where not given.
        target: Language of the targets; likewise.
        prefix: Words before each source; likewise, else the family's.

    Raises:
        ModelError: It is an export, its tokenizer cannot be loaded or knows no such language.
    """
    refuse_export(folder)
    whole = base_folder(folder) or folder
    codec = load_codec_between(whole, source, target, prefix, tuned=folder)
    positions = read_settings(whole).max_position_embeddings
    return Origin(codec, whole, folder, name, max_positions=positions)


def _require_whole(folder: Path) -> None:
    """Refuse an adapter as the base of another one."""
    if is_adapter(folder):
        raise ModelError(
            f"{folder} is itself an adapter: another one on top of it cannot be kept apart.",
            "An adapter that is delivered alone is found with a whole model as its base.",
            "Set model.adapter.save=merged, or start from the model that it is for.",
        )


def lasting_name(origin: Origin) -> str:
    """The name of a model as it is found from any folder: a path in full, other names as given."""
    assert origin.model_folder is not None
    return str(origin.model_folder.resolve()) if Path(origin.name).is_dir() else origin.name


def origin_from_scratch(
    recipe: Recipe, config: Mapping[str, Any], tokenizer_folder: Path
) -> Origin:
    """The origin of random weights.

    Raises:
        ModelError: The folder holds no tokenizer, or one that knows no such languages.
    """
    name = f"{config.get('model_type')} from scratch"
    task, positions = recipe.text_task, config.get("max_position_embeddings")
    codec = load_codec_between(tokenizer_folder, *task.told_languages, task.prefix)
    require_told_apart(recipe, codec)
    return Origin(codec, tokenizer_folder, None, name, config, positions)


def within_positions(recipe: Recipe, origin: Origin) -> tuple[Recipe, list[str]]:
    """The recipe with no text longer than the model has positions for; lines that say so."""
    limit = origin.max_positions
    wanted = {
        "data.max_source_tokens": recipe.data.max_source_tokens,
        "data.max_target_tokens": recipe.data.max_target_tokens,
        "generation.max_new_tokens": recipe.generation.max_new_tokens,
    }
    lowered = [f"{name}={value}" for name, value in wanted.items() if limit and value > limit]
    if limit is None or not lowered:
        return recipe, []
    data = {
        side: min(getattr(recipe.data, side), limit)
        for side in ("max_source_tokens", "max_target_tokens")
    }
    generation = {"max_new_tokens": min(recipe.generation.max_new_tokens, limit)}
    within = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update=data),
            "generation": recipe.generation.model_copy(update=generation),
        }
    )
    what = "this is" if len(lowered) == 1 else "these are"
    return within, [
        f"The model has positions for {limit:,} tokens: {', '.join(lowered)}; {what} taken as "
        f"{limit}."
    ]


def load_model(recipe: Recipe, origin: Origin) -> nn.Module:
    """The checkpoint's weights in fp32, or random ones; the task's languages are set.

    Raises:
        ModelError: See `models.loading`.
    """
    options = recipe.model
    if origin.model_folder is not None:
        model = load_seq2seq(origin.model_folder, dropout=options.dropout)
    else:
        assert origin.config is not None
        model = new_seq2seq(origin.config, seed=recipe.training.seed, dropout=options.dropout)
    set_languages(model, origin.codec)
    return model


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


def build_device(recipe: Recipe, emit: Emit, *, model_type: str) -> Device:
    """Device and precision, chosen automatically where the recipe does not say.

    Args:
        recipe: The recipe.
        emit: Is told where it is another precision than the one asked for.
        model_type: The model's family, of which some overflow in fp16.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    has_gpu = torch.accelerator.is_available() and recipe.training.device == "auto"
    device = torch.device("cuda" if has_gpu and torch.cuda.is_available() else "cpu")
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
        # The squared error of a rating has the rating's size.
        exploded=None if getattr(recipe.task, "kind", "") == "rating" else EXPLODED,
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
