"""Scores of a classifier in training: loss, metrics with intervals, and what it says of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attuner.data.features import LabelledTexts
from attuner.data.labelled import LabelledExample
from attuner.data.labels import Label, LabelSet, decided, names_in, probabilities
from attuner.evaluation.bootstrap import NUM_RESAMPLES
from attuner.evaluation.classification import LabelScores, best_threshold, score_labels
from attuner.evaluation.confusion import plot_confusion
from attuner.evaluation.own_metrics import OwnMetric
from attuner.inference.classifier import predict_logits
from attuner.models.classifiers import DEFAULT_THRESHOLD, set_threshold
from attuner.training.events import Comparison, Listener, Noted, Progressed, Relabelled
from attuner.training.folder import RunFolder
from attuner.training.scorer import Part, Scored

if TYPE_CHECKING:
    from attuner.tasks.classification import ClassificationTask
    from attuner.training.jobs.job import InTraining

_SHOWN = 8
# What a classifier says of an example: its label or labels, and the probability of each.
Said = Mapping[str, Any]


class LabelJudge:
    """Scores a classifier; a `Judge`.

    Args:
        trained: The model in its run.
        task: Its task.
        labels: Its labels.
        parts: What is scored, by name.
        folder: Where the table of labels and the confusions go.
        emit: Is told of progress and choices.
        own: Metrics of the user's own.
    """

    def __init__(
        self,
        trained: InTraining,
        task: ClassificationTask,
        labels: LabelSet,
        parts: Mapping[str, Part[LabelledExample, LabelledTexts]],
        folder: RunFolder,
        emit: Listener,
        own: Sequence[OwnMetric] = (),
    ) -> None:
        self._trained = trained
        self._task = task
        self._labels = labels
        self._parts = parts
        self._folder = folder
        self._emit = emit
        self._own = own
        self._threshold = DEFAULT_THRESHOLD
        self._found: LabelScores | None = None

    def score(self, part: str, *, in_full: bool) -> Scored:
        """The mean loss of an example, and all metrics that apply."""
        logits = self._logits(part)
        targets = self._parts[part].features.targets
        self._found = score_labels(
            logits,
            targets,
            self._labels,
            threshold=self._threshold,
            functions=self._own,
            num_resamples=NUM_RESAMPLES if in_full else 0,
        )
        return Scored(
            {"loss": self._task.mean_loss(logits, targets), **self._found.scores},
            self._found.signatures,
            self._said(logits),
            self._found.intervals,
        )

    def settle(self) -> None:
        """With several labels a text: choose the threshold on validation, for the model's use."""
        if self._labels.kind != "multi" or "validation" not in self._parts:
            return
        shares = probabilities(self._logits("validation"), self._labels)
        targets = self._parts["validation"].features.targets
        self._threshold = best_threshold(shares, targets)
        set_threshold(self._trained.raw_model, self._threshold)
        self._emit(
            Noted(
                f"A label is given from a probability of {self._threshold:.3g} on: the threshold "
                "with the best micro F1 on validation."
            )
        )

    def rows(
        self, part: str, before: Sequence[Said], after: Sequence[Said] | None
    ) -> Iterator[dict[str, Any]]:
        """The examples with what was said of them."""
        for index, example in enumerate(self._parts[part].examples):
            pair = {} if example.text_pair is None else {"text_pair": example.text_pair}
            yield {
                "text": example.text,
                **pair,
                "label": example.label,
                "before": before[index],
                "after": after[index] if after else None,
                "address": str(example.address),
            }

    def compared(
        self, part: str, before: Sequence[Said], after: Sequence[Said]
    ) -> Iterator[Relabelled]:
        """What changed; the table of labels and the confusions are written beside it."""
        assert self._found is not None
        self._write_tables(self._found, part)
        examples = self._parts[part].examples
        changes = [
            (_nearness(new, example.label) - _nearness(old, example.label), row)
            for row, (example, old, new) in enumerate(zip(examples, before, after, strict=True))
            if old["label"] != new["label"]
        ]
        better = [row for gain, row in sorted(changes, key=lambda c: (-c[0], c[1])) if gain > 0]
        yield Relabelled(
            rows=tuple(
                Comparison(
                    " / ".join(filter(None, (examples[row].text, examples[row].text_pair))),
                    in_words(before[row]),
                    in_words(after[row]),
                    spelt(examples[row].label),
                )
                for row in better[:_SHOWN]
            ),
            num_examples=len(examples),
            num_changed=len(changes),
            num_better=len(better),
            num_worse=sum(gain < 0 for gain, _ in changes),
            labels=self._found.rows,
        )

    def _write_tables(self, found: LabelScores, part: str) -> None:
        if found.rows:
            with self._folder.labels.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(asdict(found.rows[0])))
                writer.writeheader()
                writer.writerows(asdict(row) for row in found.rows)
        if found.confusion is not None:
            title = f"{self._folder.path.name}: {part}, after tuning"
            plot_confusion(found.confusion, self._labels.names, self._folder.confusion, title=title)

    def _logits(self, part: str) -> Any:
        return predict_logits(
            self._trained.model,
            self._task,
            self._parts[part].features,
            computing=self._trained.computing,
            progress=lambda done, total: self._emit(Progressed(f"scoring {part}", done, total)),
            sharing=self._trained.processes,
        )

    def _said(self, logits: Any) -> list[Said]:
        found = decided(logits, self._labels, threshold=self._threshold)
        if self._labels.kind == "rating":
            return [{"label": round(float(str(label)), 4)} for label in found]
        shares = probabilities(logits, self._labels).round(4).tolist()
        names = self._labels.names
        return [
            {
                "label": list(label) if isinstance(label, tuple) else label,
                "probabilities": dict(zip(names, row, strict=True)),
            }
            for label, row in zip(found, shares, strict=True)
        ]


def in_words(said: Said) -> str:
    """What was said of an example.

    >>> in_words({"label": "good", "probabilities": {"bad": 0.1, "good": 0.9}})
    'good (0.90)'
    """
    if "probabilities" not in said:
        return f"{said['label']:.2f}"
    labels = said["label"] if isinstance(said["label"], list) else [said["label"]]
    return ", ".join(f"{name} ({said['probabilities'][name]:.2f})" for name in labels) or "none"


def spelt(label: Label) -> str:
    """A label as it is shown.

    >>> spelt("good"), spelt(("a", "b")), spelt(()), spelt(3.0)
    ('good', 'a, b', 'none', '3')
    """
    return f"{label:g}" if isinstance(label, float) else ", ".join(names_in(label)) or "none"


def _nearness(said: Said, label: Label) -> float:
    """How near what was said is to the truth: labels that are right, or less error.

    >>> _nearness({"label": "a", "probabilities": {}}, "a"), _nearness({"label": 3.5}, 4.0)
    (0.0, -0.5)
    """
    if isinstance(label, float):
        return -abs(float(said["label"]) - label)
    given = said["label"] if isinstance(said["label"], list) else [said["label"]]
    return 0.0 - len(set(given) ^ set(names_in(label)))
