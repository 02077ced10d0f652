"""Whether one run of a checkpoint can learn the target languages that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attuner.errors import ModelError
from attuner.training.data import all_sources

if TYPE_CHECKING:
    from attuner.models.codec import TextCodec
    from attuner.recipe import Recipe


def require_told_apart(recipe: Recipe, codec: TextCodec) -> None:
    """Refuse target languages that the model would not be told, or not in one run.

    Args:
        recipe: Its task names them, and its sources may.
        codec: The checkpoint's tokens.

    Raises:
        ModelError: Two languages of the task look alike to the model, or its decoder starts with
            the language, of which a model has one.
    """
    task = recipe.text_task
    own = [source.target_language for source in all_sources(recipe)]
    names = list(dict.fromkeys([*task.targets, *filter(None, own)]))
    if len(names) < 2:
        return
    told = {name: codec.between(task.source, name) for name in names}
    if len({codec.decoder_start_token_id for codec in told.values()}) > 1:
        raise ModelError(
            f"{_named(recipe)} can be trained for one target language, not for {_joined(names)}.",
            "Its decoder starts with the target's language, and a model folder has one start.",
            "Train a run for each, or take a checkpoint that is told the language otherwise, such "
            "as facebook/mbart-large-50-many-to-many-mmt.",
        )
    signs: dict[tuple[str, int | None], str] = {}
    for name in task.targets:
        sign = told[name].source_prefix, told[name].forced_bos_token_id
        if sign in signs:
            raise ModelError(
                f"{_named(recipe)} is told the same for the target languages {signs[sign]} and "
                f"{name}: it could not know which one is wanted.",
                "Expected target languages that the checkpoint tells apart, by a token or by the "
                "family's words before each source (which task.prefix replaces).",
                "Name one of them in task.target, or take a checkpoint of many languages.",
            )
        signs[sign] = name


def _named(recipe: Recipe) -> str:
    return recipe.model.checkpoint or "The model"


def _joined(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
