"""Score a model on examples, as its user sees them: whole entries, white space included."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attuner.data.units import Example
from attuner.errors import UsageError, nearest
from attuner.evaluation.metrics import METRICS, Statistics
from attuner.inference.translator import Translator

if TYPE_CHECKING:
    from attuner.inference.engine import Engine


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model made of the examples, and how good it is.

    Attributes:
        scores: Value of each metric, 0 to 100.
        signatures: The settings behind each metric.
        predictions: One translation for each example.
        per_example: For each metric, the sufficient statistics of each example; see
            `Metric.combine`.
        engine: What generated, such as `ctranslate2 4.8.5 float32`.
        num_beams: Width of the beam search.
        max_new_tokens: Longest translation of a line in tokens.
        seconds: Time to generate and score.
        counts: Where data were read for it: `read` by file, `skipped` by reason, and `scored`.
    """

    scores: dict[str, float]
    signatures: dict[str, str]
    predictions: list[str]
    per_example: dict[str, list[Statistics]]
    engine: str
    num_beams: int
    max_new_tokens: int
    seconds: float
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def evaluate(
    model: Translator | Engine,
    examples: Sequence[Example],
    *,
    metrics: Sequence[str] = ("bleu", "chrf"),
    num_beams: int | None = None,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Translate the examples' sources and score them against all their references.

    Args:
        model: A translator, or an engine that becomes one.
        examples: At least one, all with the same target language.
        metrics: Names in `METRICS`.
        num_beams: Width of the beam search; the model's own where not given.
        max_new_tokens: Longest translation of a line in tokens, end token included.
        progress: Called with the number of lines done and their total.

    Raises:
        UsageError: There is no such metric.
        ValueError: There are no examples, or their target languages differ.
    """
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f'There is no metric "{name}".', nearest(name, METRICS))
    languages = sorted({example.target_language for example in examples})
    if len(languages) != 1:
        raise ValueError(f"{len(examples)} examples with target languages {languages}")
    start = time.perf_counter()
    translator = model if isinstance(model, Translator) else Translator(model)
    num_beams = num_beams or translator.settings.num_beams
    predictions = translator.translate(
        [example.source for example in examples],
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    references = [example.references for example in examples]
    found = [METRICS[name](predictions, references, languages[0]) for name in metrics]
    return Evaluation(
        scores={score.name: score.value for score in found},
        signatures={score.name: score.signature for score in found},
        predictions=predictions,
        per_example={score.name: score.per_example for score in found},
        engine=translator.engine.name,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        seconds=time.perf_counter() - start,
    )
