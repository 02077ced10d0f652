"""What a run starts from: the checkpoint, or random weights, and the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError
from attuner.inference.settings import read_settings
from attuner.models.adapter_folder import base_folder, is_adapter
from attuner.models.codec import TextCodec
from attuner.models.exports import refuse_export
from attuner.models.loading import load_seq2seq, new_seq2seq, resolve_model
from attuner.models.usage import load_codec_between, set_languages
from attuner.training.events import Listener, fetching
from attuner.training.targets import require_told_apart

if TYPE_CHECKING:
    from torch import nn

    from attuner.recipe import Recipe


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


def find_origin(recipe: Recipe, emit: Listener = lambda event: None) -> Origin | None:
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
