"""Score a classifier on files: every row that has a text and a label."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from attuner.data.labelled import LabelColumns, LabelledExample, read_labelled
from attuner.data.labels import Label, LabelSet, names_in, numbered_labels, require_known
from attuner.data.preparation import skipped_sentence
from attuner.errors import DataError
from attuner.evaluation.bootstrap import NUM_RESAMPLES
from attuner.evaluation.classification import (
    LabelRow,
    require_label_metrics,
    score_labels,
)
from attuner.evaluation.own_metrics import ScoreFunction
from attuner.inference.classifier import Classified, load_labels
from attuner.models.classifier_usage import read_label_usage
from attuner.models.loading import resolve_model

# How messages spell the arguments below; the command line gives its own spelling.
_KEYWORDS = {
    name: f'{name}="{{}}"'
    for name in (
        "text", "text_pair", "label", "config", "revision", "split", "encoding", "bad_entries",
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelEvaluation:
    """What a classifier made of the examples, and how good it is.

    Attributes:
        scores: Value of each metric; see `label_metrics`.
        intervals: Of each, the bootstrap's 95 % interval.
        signatures: The settings behind each.
        labels: Precision, recall and F1 of each label; none of ratings.
        confusion: Of one label a text: examples by true label (rows) and label given (columns).
        predictions: What the model says of each example.
        engine: What computed, such as `transformers 5.0.0 bfloat16`.
        seconds: Time to classify.
        counts: `read` by file, `skipped` by reason, and `scored`.
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    signatures: dict[str, str]
    labels: tuple[LabelRow, ...]
    confusion: npt.NDArray[np.int64] | None
    predictions: list[Classified]
    engine: str
    seconds: float
    counts: Mapping[str, Mapping[str, int]]


def evaluate_labels(
    model: str | Path,
    data: str | Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    metrics: Sequence[str] | None = None,
    functions: Sequence[ScoreFunction] = (),
    num_resamples: int = NUM_RESAMPLES,
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    options: Mapping[str, str] = _KEYWORDS,
) -> LabelEvaluation:
    """Classify the texts that data hold, and score the labels against those that they have.

    Args:
        model: A model folder, a run folder or a Hub id.
        data: A table, a folder or glob of tables, or `hub:ID`.
        text: Column of the texts; the one that the model was tuned on where not given.
        text_pair: Column of the second texts, likewise.
        label: Column of the labels, likewise.
        config: Configuration of a Hub data set.
        revision: Branch, tag or commit of a Hub data set.
        split: Split of a Hub data set.
        encoding: Encoding of text files that do not declare their own.
        bad_entries: `fail` raises rows that cannot be read, or have a label that the model does
            not know; `skip` counts them.
        metrics: Names of the scores; all that apply where None.
        functions: Metrics of one's own: predictions and labels, as numbers in the order of the
            model's labels → values by name.
        num_resamples: Of the bootstrap behind the intervals; 0 for none.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the device is fast at it.
        progress: Called with the number of different texts done and their total.
        options: How the arguments that messages advise are typed; `{}` stands for the value.

    Raises:
        UsageError: There is no such metric for these labels.
        DataError: The data cannot be read, or hold no labelled text or unknown labels.
        ModelError: The model cannot be used.
        UserError: A function raised an error, or gave no numbers.
    """
    classifier = load_labels(model, precision=precision)
    labels = classifier.labels
    require_label_metrics(metrics or (), labels)
    examples, counts = read_label_examples(
        model,
        data,
        labels,
        text=text,
        text_pair=text_pair,
        label=label,
        config=config,
        revision=revision,
        split=split,
        encoding=encoding,
        bad_entries=bad_entries,
        options=options,
    )
    began = time.perf_counter()
    predictions = classifier.classify(
        [example.text for example in examples], second_texts(examples), progress=progress
    )
    seconds = time.perf_counter() - began
    found = score_labels(
        np.array([said.logits for said in predictions], np.float32),
        labels.encode([example.label for example in examples]),
        labels,
        threshold=classifier.threshold,
        metrics=metrics,
        functions=functions,
        num_resamples=num_resamples,
    )
    return LabelEvaluation(
        found.scores, found.intervals, found.signatures, found.rows, found.confusion,
        predictions, classifier.name, seconds, counts,
    )  # fmt: skip


def read_label_examples(
    model: str | Path,
    data: str | Path,
    labels: LabelSet,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    options: Mapping[str, str] = _KEYWORDS,
) -> tuple[list[LabelledExample], Mapping[str, Mapping[str, int]]]:
    """Read what a classifier is scored on; arguments and errors as in `evaluate_labels`.

    Returns:
        At least one example, with labels of `labels`; and counts of what was read and skipped.
    """
    usage = read_label_usage(resolve_model(str(model)))
    columns = LabelColumns(
        text or usage.text,
        text_pair or usage.text_pair or None,
        label or usage.label,
        labels.kind,
        usage.separator,
    )
    skipped: Counter[str] = Counter()
    examples = list(
        read_labelled(
            str(data),
            columns,
            config=config,
            revision=revision,
            split=split,
            encoding=encoding,
            bad_entries=bad_entries,
            skipped=skipped,
            options=options,
        )
    )
    read = Counter(example.address.file for example in examples)
    named = numbered_labels([example.label for example in examples], labels.names)
    known = _known(named, labels, bad_entries, skipped, options["bad_entries"].format("skip"))
    examples = [replace(examples[row], label=named[row]) for row in known]
    if not examples:
        raise DataError(
            f"{data}: no row is left to score: {skipped_sentence(skipped)}.",
            "Scores need rows that have a text and a label.",
            "Name other data.",
        )
    counts = {
        "read": dict(read),
        "skipped": dict(skipped.most_common()),
        "scored": {"examples": len(examples)},
    }
    return examples, counts


def second_texts(examples: Sequence[LabelledExample]) -> list[str] | None:
    """Of pairs of texts, the second ones; else None."""
    is_pair = examples[0].text_pair is not None
    return [example.text_pair or "" for example in examples] if is_pair else None


def _known(
    named: Sequence[Label], labels: LabelSet, unknown: str, skipped: Counter[str], skip: str
) -> list[int]:
    """Rows whose labels the model knows; the others are counted, or refused."""
    if labels.kind == "rating":
        return list(range(len(named)))
    if unknown == "fail":
        require_known(
            named,
            labels.names,
            where="the data",
            remedy=f"Mend them, or leave such rows out, counted: {skip}",
        )
    rows = [row for row, label in enumerate(named) if {*names_in(label)} <= {*labels.names}]
    if left_out := len(named) - len(rows):
        skipped["unknown label"] += left_out
    return rows
