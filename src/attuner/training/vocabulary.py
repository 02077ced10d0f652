"""The vocabulary of a model trained from scratch: learned once, from training texts alone."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attuner.data.line_pairs import training_pairs
from attuner.data.preparation import Prepared
from attuner.errors import RunError
from attuner.models.vocabulary import learn_vocabulary, with_token_ids
from attuner.training.events import Listener, Noted, Progressed
from attuner.training.origin import Origin, origin_from_scratch

if TYPE_CHECKING:
    from attuner.recipe import Recipe

# More change few pieces, and take minutes and gigabytes.
MOST_EXAMPLES = 250_000
# Positions of a Marian model whose configuration does not say.
_POSITIONS = 1024


def learn(recipe: Recipe, prepared: Prepared, folder: Path, emit: Listener) -> None:
    """Learn the vocabulary from both sides of the training examples, and write its files.

    Args:
        recipe: One with `model.vocabulary`.
        prepared: Only its training examples are used, a sample of them where they are many.
        folder: Where the files go.
        emit: Is told what came of it.

    Raises:
        DataError: The training texts are too few or too various for the vocabulary.
    """
    options, config = recipe.model.vocabulary, recipe.model.config
    assert options is not None
    assert config is not None
    began = time.perf_counter()
    lines = _lines(prepared, recipe.training.seed)
    emit(Progressed("learning the vocabulary", 0, len(lines)))
    num_pieces = learn_vocabulary(
        lines,
        folder,
        size=options.size,
        character_coverage=options.character_coverage,
        byte_fallback=options.byte_fallback,
        normalisation=options.normalisation,
        source_language=recipe.text_task.source,
        target_language=recipe.text_task.targets[0] if len(recipe.text_task.targets) == 1 else "",
        max_tokens=config.get("max_position_embeddings", _POSITIONS),
    )
    emit(
        Noted(
            f"Vocabulary of {num_pieces:,} pieces, learned from {len(lines):,} lines of training "
            f"text in {time.perf_counter() - began:.0f} s."
        )
    )
    if num_pieces < options.size:
        emit(Noted(f"They give no more pieces (model.vocabulary.size={options.size:,})."))


def _lines(prepared: Prepared, seed: int) -> list[str]:
    """Sources and targets as the model will see them, line by line."""
    examples = prepared.train
    if len(examples) > MOST_EXAMPLES:
        chosen = random.Random(seed).sample(range(len(examples)), MOST_EXAMPLES)
        examples = examples.select(np.array(chosen))
    pairs = training_pairs(examples, whole_texts=prepared.whole_texts)
    return [line for source, target, _ in pairs for line in (source, target)]


def load_origin(recipe: Recipe, folder: Path) -> Origin:
    """The recipe's model with a vocabulary that was learned before.

    Raises:
        RunError: The folder is gone.
        ModelError: A file of it is damaged, or the configuration contradicts the vocabulary.
    """
    config = recipe.model.config
    assert config is not None
    if not folder.is_dir():
        raise RunError(
            f"{folder} is missing.",
            "The run goes on with the vocabulary that it began with: its weights belong to it.",
            "Put the folder back, or start a new run.",
        )
    return origin_from_scratch(recipe, with_token_ids(config, folder), folder)
