"""How good and how fast a model is, and an export of it, on the same examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attuner.data.labelled import LabelledExample
from attuner.data.labels import Kind
from attuner.data.units import Example
from attuner.evaluation.known_metrics import higher_is_better

if TYPE_CHECKING:
    from attuner.inference.classifier import Classifier
    from attuner.inference.translator import Translator

Progress = Callable[[int, int], None]
# By which score a classifier is compared with its export.
LABEL_METRICS: Mapping[Kind, str] = {
    "single": "accuracy", "multi": "micro_f1", "rating": "pearson"
}  # fmt: skip
# Examples given before the clock runs: what is built at the first call is not speed.
_WARM_UP = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """A model, or an export, on the examples.

    Attributes:
        engine: What computed, such as `ctranslate2 4.8.5 int8`.
        num_bytes: Size of its files.
        seconds: Time for all examples, one after the other in batches.
        per_second: Examples a second.
        scores: Value of each metric.
        signatures: The settings behind each.
        outputs: What it made of each example, to compare.
    """

    engine: str
    num_bytes: int
    seconds: float
    per_second: float
    scores: Mapping[str, float]
    signatures: Mapping[str, str]
    outputs: Sequence[Any]


def measure_texts(
    translator: Translator,
    examples: Sequence[Example],
    metrics: Sequence[str],
    *,
    num_bytes: int,
    progress: Progress | None = None,
) -> Measured:
    """Translate the examples and score what comes out."""
    from attuner.evaluation.evaluate import generate, score_texts

    generate(translator, examples[:_WARM_UP])
    began = time.perf_counter()
    made = generate(translator, examples, progress=progress)
    seconds = time.perf_counter() - began
    scores, signatures, _ = score_texts(made, examples, metrics)
    speed = len(examples) / seconds
    return Measured(translator.engine.name, num_bytes, seconds, speed, scores, signatures, made)


def measure_labels(
    classifier: Classifier,
    examples: Sequence[LabelledExample],
    metrics: Sequence[str] | None,
    *,
    num_bytes: int,
    progress: Progress | None = None,
) -> Measured:
    """Classify the examples and score the labels."""
    from attuner.evaluation.classification import score_labels
    from attuner.evaluation.labels_on_data import second_texts

    labels = classifier.labels
    texts, pairs = [example.text for example in examples], second_texts(examples)
    classifier.logits(texts[:_WARM_UP], None if pairs is None else pairs[:_WARM_UP])
    began = time.perf_counter()
    said = classifier.classify(texts, pairs, progress=progress)
    seconds = time.perf_counter() - began
    found = score_labels(
        np.array([row.logits for row in said], np.float32),
        labels.encode([example.label for example in examples]),
        labels,
        threshold=classifier.threshold,
        metrics=metrics,
        num_resamples=0,
    )
    outputs = [_comparable(row.label) for row in said]
    speed = len(examples) / seconds
    return Measured(
        classifier.name, num_bytes, seconds, speed, found.scores, found.signatures, outputs
    )


def fall(before: Measured, after: Measured, metric: str) -> float:
    """By how much a score is worse than before, in points; below 0 where it is better."""
    old, new = before.scores[metric], after.scores[metric]
    if math.isnan(old):  # a correlation of constants says nothing
        return 0.0
    if math.isnan(new):
        return math.inf
    return old - new if higher_is_better(metric) else new - old


def folder_bytes(*folders: Path) -> int:
    """Size of the files in folders, hidden ones left out."""
    return sum(
        path.stat().st_size
        for folder in folders
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    )


def _comparable(label: Any) -> Any:
    """A rating as it is shown: number formats differ in the last digits."""
    return round(label, 2) if isinstance(label, float) else label
