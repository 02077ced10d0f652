"""What runs kept of their held-out examples, lined up so that the runs can be compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attuner.data.labels import LabelSet
from attuner.evaluation.label_metrics import Outcome
from attuner.evaluation.paired import Resampled, resample_labels, resample_text
from attuner.training.folder import read_lines
from attuner.training.past import PastRun

# Kept probabilities and ratings are rounded, and so are the scores made of them.
_NEAR = 0.05


@dataclass(frozen=True, slots=True)
class Kept:
    """A run's held-out examples and what the tuned model made of them.

    Attributes:
        examples: What identifies each: source and references, or text and label.
        rows: The lines of the file.
    """

    examples: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


def read_kept(run: PastRun) -> Kept | None:
    """The examples in an order that does not depend on the run; None where there are none."""
    is_labels = run.options["task"].get("name") == "classification"
    path = run.folder.predictions if is_labels else run.folder.translations
    names = ("text", "text_pair", "label") if is_labels else ("source", "references")
    try:
        rows = read_lines(path)
        keyed = sorted(
            (
                (json.dumps([row.get(name) for name in names], ensure_ascii=False), row)
                for row in rows
                if row["after"] is not None
            ),
            key=lambda pair: pair[0],  # equal examples stay in their order
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not keyed or len(keyed) < len(rows):
        return None
    return Kept(tuple(key for key, _ in keyed), tuple(row for _, row in keyed))


def num_common(one: Kept, other: Kept) -> int:
    """How many examples two runs have in common."""
    return (Counter(one.examples) & Counter(other.examples)).total()


def resample_kept(run: PastRun, kept: Kept, metric: str) -> Resampled | None:
    """A score of a run's kept outputs with its resamples.

    None where they do not give the score that the run has: it was then measured otherwise, such as
    by several languages, by another version, or by a metric that they do not suffice for.
    """
    if run.options["task"].get("name") == "classification":
        found = _of_labels(run, kept, metric)
    else:
        found = _of_texts(run, kept.rows, metric)
    if found is None or abs(found.value - run.after[metric]) > _NEAR:
        return None
    return found


def _of_texts(run: PastRun, rows: Sequence[Mapping[str, Any]], metric: str) -> Resampled | None:
    from attuner.evaluation.metrics import METRICS

    task = run.options["task"]
    language = task.get("language") or task.get("target")
    if metric not in METRICS or not isinstance(language, str):
        return None
    predictions, references = [row["after"] for row in rows], [row["references"] for row in rows]
    return resample_text(metric, predictions, references, language)


def _of_labels(run: PastRun, kept: Kept, metric: str) -> Resampled | None:
    from attuner.evaluation.label_metrics import METRICS

    kind = run.options["task"].get("kind", "single")
    if metric not in METRICS.get(kind, {}):
        return None
    said = [row["after"] for row in kept.rows]
    names = tuple(said[0].get("probabilities", ()))
    labels = LabelSet(kind, names)
    given, true = (
        labels.encode([_label(value) for value in values])
        for values in ([one["label"] for one in said], [row["label"] for row in kept.rows])
    )
    probabilities = [[one["probabilities"][name] for name in names] for one in said]
    if kind == "multi":
        given, true = given.astype(np.int64), true.astype(np.int64)
    outcome = Outcome(given, true, np.array(probabilities), len(names))
    return resample_labels(metric, outcome, labels)


def _label(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
