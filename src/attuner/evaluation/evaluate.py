"""Score a model on examples, as its user sees them: whole entries, white space included."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from attuner.data.units import Example
from attuner.errors import UsageError, nearest
from attuner.evaluation.metrics import METRICS, Score, Statistics
from attuner.evaluation.own_metrics import (
    NUM_RESAMPLES,
    OwnMetric,
    OwnScores,
    ScoreFunction,
    own_scores,
)
from attuner.inference.sharing import ALONE, Sharing, progress_of_all, shared
from attuner.inference.translator import Translator

if TYPE_CHECKING:
    from attuner.inference.engine import Engine

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model made of the examples, and how good it is.

    Attributes:
        scores: Value of each metric, 0 to 100. With several target languages, the mean over them
            under the metric's name, and that of each as `bleu/fr`.
        signatures: The settings behind each of them.
        predictions: One translation for each example.
        per_example: For each metric, the sufficient statistics of each example; see
            `Metric.combine`.
        engine: What generated, such as `ctranslate2 4.8.5 float32`.
        num_beams: Width of the beam search.
        max_new_tokens: Longest translation of a line in tokens.
        seconds: Time to generate and score.
        counts: Where data were read for it: `read` by file, `skipped` by reason, and `scored`.
        intervals: 95 % intervals of the scores by own functions.
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
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def evaluate(
    model: Translator | Engine,
    examples: Sequence[Example],
    *,
    metrics: Sequence[str] = ("bleu", "chrf"),
    functions: Sequence[ScoreFunction] = (),
    num_resamples: int = NUM_RESAMPLES,
    num_beams: int | None = None,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
    sharing: Sharing = ALONE,
) -> Evaluation:
    """Generate from the examples' sources and score it against all their references.

    Each target language is scored for itself: BLEU's words are others in each.

    Args:
        model: A translator, or an engine that becomes one.
        examples: At least one.
        metrics: Names in `METRICS`.
        functions: Metrics of one's own: texts, and the references of each → values by name.
        num_resamples: Of the bootstrap behind the intervals of these; 0 for none.
        num_beams: Width of the beam search; the model's own where not given.
        max_new_tokens: Longest translation of a line in tokens, end token included.
        progress: Called with the number of lines done and their total.
        sharing: Processes that share the generating; each gets all scores.

    Raises:
        UsageError: There is no such metric.
        MissingExtraError: A metric's library is not installed.
        UserError: A function raised an error, or gave no numbers.
        ValueError: There are no examples.
    """
    require_metrics(metrics)
    if not examples:
        raise ValueError("no examples to score")
    start = time.perf_counter()
    translator = model if isinstance(model, Translator) else Translator(model)
    num_beams = num_beams or translator.settings.num_beams
    predictions = generate(
        translator,
        examples,
        sharing=sharing,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    scores, signatures, per_example = score_texts(predictions, examples, metrics)
    own = score_texts_by(functions, predictions, examples, num_resamples=num_resamples)
    return Evaluation(
        scores=scores | own.scores,
        signatures=signatures | own.signatures,
        intervals=own.intervals,
        predictions=predictions,
        per_example=per_example,
        engine=translator.engine.name,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        seconds=time.perf_counter() - start,
    )


def require_metrics(names: Sequence[str]) -> None:
    """Make sure that what is to be scored can be, before hours are spent on what comes before.

    Raises:
        UsageError: There is no such metric.
        MissingExtraError: A metric's library is not installed.
    """
    for name in names:
        if name not in METRICS:
            raise UsageError(f'There is no metric "{name}".', nearest(name, METRICS))
        METRICS[name](["text"], [["text"]], "en")


def generate(
    translator: Translator,
    examples: Sequence[Example],
    *,
    sharing: Sharing = ALONE,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> list[str]:
    """What a model makes of each example's source, in the example's languages.

    Args:
        translator: The model.
        examples: In one or more pairs of languages.
        sharing: Processes that share the examples; each gets all that is made.
        progress: Called with the number of lines done and their total.
        **options: Of `Translator.translate`.
    """
    if sharing.count > 1:
        options["progress"] = progress_of_all(progress, sharing, len(examples))
        order = sorted(range(len(examples)), key=lambda row: len(examples[row].source))
        ordered = [examples[row] for row in order]
        made = shared(ordered, lambda mine: generate(translator, mine, **options), sharing)
        return [text for _, text in sorted(zip(order, made, strict=True))]
    predictions = [""] * len(examples)
    for (source, target), rows in _rows_by(examples, lambda example: example.languages).items():
        texts = [examples[row].source for row in rows]
        made = translator.translate(
            texts, source=source, target=target, progress=progress, **options
        )
        for row, text in zip(rows, made, strict=True):
            predictions[row] = text
    return predictions


def score_texts(
    predictions: Sequence[str], examples: Sequence[Example], metrics: Sequence[str]
) -> tuple[dict[str, float], dict[str, str], dict[str, list[Statistics]]]:
    """Scores, signatures and statistics of each example, by metric; see `Evaluation`."""
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    statistics: dict[str, list[Statistics]] = {}
    by_language = _rows_by(examples, lambda example: example.target_language)
    for name in metrics:
        statistics[name] = [[] for _ in examples]
        found: dict[str, Score] = {}
        for language, rows in by_language.items():
            texts = [predictions[row] for row in rows]
            references = [examples[row].references for row in rows]
            score = found[language] = METRICS[name](texts, references, language)
            for row, stats in zip(rows, score.per_example, strict=True):
                statistics[name][row] = stats
        scores[name] = sum(score.value for score in found.values()) / len(found)
        signatures[name] = f"mean of {', '.join(f'{name}/{language}' for language in found)}"
        if len(found) == 1:
            signatures[name] = score.signature
            continue
        scores |= {f"{name}/{language}": score.value for language, score in found.items()}
        signatures |= {f"{name}/{language}": score.signature for language, score in found.items()}
    return scores, signatures, statistics


def score_texts_by(
    functions: Sequence[ScoreFunction],
    predictions: Sequence[str],
    examples: Sequence[Example],
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> OwnScores:
    """Scores by own functions; each target language for itself, as by all metrics.

    The mean over several languages has no interval.
    """
    own = [OwnMetric.of(function) for function in functions]
    by_language = {
        language: own_scores(
            own,
            [predictions[row] for row in rows],
            [list(examples[row].references) for row in rows],
            num_resamples=num_resamples,
        )
        for language, rows in _rows_by(examples, lambda example: example.target_language).items()
    }
    if len(by_language) == 1:
        return next(iter(by_language.values()))
    made = OwnScores({}, {}, {})
    for name in next(iter(by_language.values())).scores:
        values = [found.scores[name] for found in by_language.values()]
        made.scores[name] = sum(values) / len(values)
        made.signatures[name] = f"mean of {', '.join(f'{name}/{code}' for code in by_language)}"
        for code, found in by_language.items():
            made.scores[f"{name}/{code}"] = found.scores[name]
            made.signatures[f"{name}/{code}"] = found.signatures[name]
            if name in found.intervals:
                made.intervals[f"{name}/{code}"] = found.intervals[name]
    return made


def _rows_by(examples: Sequence[Example], key: Callable[[Example], Key]) -> dict[Key, list[int]]:
    """Places of the examples by a key, in a fixed order of the keys."""
    found: dict[Key, list[int]] = {}
    for row, example in enumerate(examples):
        found.setdefault(key(example), []).append(row)
    return {name: found[name] for name in sorted(found, key=str)}
