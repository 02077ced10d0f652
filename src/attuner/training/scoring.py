"""Scores of a model in memory: token loss, and the metrics of what it generates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from attuner.data.features import Ints, SequencePairs
from attuner.data.units import Example
from attuner.inference.conversion import CONVERTIBLE
from attuner.inference.engine import Engine
from attuner.inference.sharing import ALONE, Sharing, shared

if TYPE_CHECKING:
    from attuner.evaluation.evaluate import Evaluation
    from attuner.evaluation.own_metrics import ScoreFunction
    from attuner.inference.translator import Translator
    from attuner.models.codec import TextCodec
    from attuner.tasks.task import Task

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate, see `recipe.Generation`, and what to score it by.

    Attributes:
        whole_texts: Whether a text is taken as a whole, not line by line.
        max_source_tokens: Longer sources are cut; 0 leaves it to the engine.
        metrics: Names of the scores.
    """

    engine: str = "auto"
    quantization: str = "float32"
    num_beams: int = 4
    max_new_tokens: int = 128
    whole_texts: bool = False
    max_source_tokens: int = 0
    metrics: tuple[str, ...] = ("bleu", "chrf")


@dataclass(frozen=True, slots=True)
class Part:
    """Validation or test examples, and their features for the token loss."""

    examples: Sequence[Example]
    features: SequencePairs


def token_loss(
    model: nn.Module,
    task: Task,
    features: SequencePairs,
    device: torch.device,
    *,
    batch_examples: int = 64,
    computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    sharing: Sharing = ALONE,
) -> float:
    """Mean cross-entropy over all real target tokens, in nats; every row counts once.

    Args:
        model: With the task's hooks in place.
        task: Its collate and loss.
        features: The rows.
        device: Where the model is.
        batch_examples: Rows in one forward; they are sorted by length, the result is the same.
        computing: Makes the block that a forward runs in: the precision of the matrix products.
        sharing: Processes that share the batches; each gets the whole.
    """

    def losses(batches: Sequence[Ints]) -> list[float]:
        found = []
        for rows in batches:
            batch = task.collate(features, rows, device)
            with computing():
                found.append(float(task.loss(model, batch)))
        return found

    was_training = model.training
    model.eval()
    order = np.argsort(features.target.lengths, kind="stable")
    batches = [order[at : at + batch_examples] for at in range(0, len(order), batch_examples)]
    try:
        with torch.no_grad():
            total = sum(shared(batches, losses, sharing))
    finally:
        model.train(was_training)
    return total / max(1, int(features.target.lengths.sum()))


def build_engine(model: nn.Module, codec: TextCodec, options: GenerationOptions) -> Engine:
    """The engine that generates from a model in memory.

    `auto` takes CTranslate2 where it supports the model's family.
    """
    from attuner.inference.transformers_engine import TransformersEngine

    family: str = model.config.model_type  # type: ignore[union-attr,assignment]
    if options.engine == "transformers" or (options.engine == "auto" and family not in CONVERTIBLE):
        return TransformersEngine(model, codec)
    from attuner.inference.conversion import ConversionError
    from attuner.inference.ctranslate2_engine import engine_from_model

    try:
        return engine_from_model(model, codec, quantization=options.quantization)
    except ConversionError as error:
        if options.engine != "auto":
            raise
        logger.warning("%s: transformers generates", error.happened.rstrip("."))
        return TransformersEngine(model, codec)


def build_translator(model: nn.Module, codec: TextCodec, options: GenerationOptions) -> Translator:
    """What generates from a model in memory, as `attuner.load` gives it to users."""
    from attuner.inference.translator import Translator

    engine = build_engine(model, codec, options)
    return Translator(
        engine, whole_texts=options.whole_texts, max_source_tokens=options.max_source_tokens
    )


def generated_scores(
    model: nn.Module,
    codec: TextCodec,
    examples: Sequence[Example],
    options: GenerationOptions,
    *,
    functions: Sequence[ScoreFunction] = (),
    num_resamples: int = 0,
    progress: Progress | None = None,
    sharing: Sharing = ALONE,
) -> Evaluation:
    """Translate the examples as a user would see it, and score the translations.

    Args:
        model: Without the task's hooks.
        codec: Its tokens.
        examples: Whole entries.
        options: How to generate.
        functions: Metrics of the user's own.
        num_resamples: Of the bootstrap behind their intervals.
        progress: Called with examples done and in all.
        sharing: Processes that share the generating.
    """
    from attuner.evaluation.evaluate import evaluate
    from attuner.models.adapters import merged

    with merged(model):  # as whoever loads it has it
        return evaluate(
            build_translator(model, codec, options),
            examples,
            metrics=options.metrics,
            functions=functions,
            num_resamples=num_resamples,
            num_beams=options.num_beams,
            max_new_tokens=options.max_new_tokens,
            progress=progress,
            sharing=sharing,
        )


def with_loss(scores: Mapping[str, float], loss: float) -> dict[str, float]:
    """The scores of a part, token loss first."""
    return {"loss": loss, **scores}
