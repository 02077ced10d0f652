"""Scores of a run's validation and test examples, and its predictions before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from attuner.training.events import Evaluated, Event, Intervals, Listener
from attuner.training.folder import read_lines, write_lines
from attuner.training.processes import Processes

Scores = tuple[Mapping[str, float], Mapping[str, str]]

E = TypeVar("E")
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Part(Generic[E, F]):
    """Validation or test examples, and their features."""

    examples: Sequence[E]
    features: F


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model made of the examples of a part, and how good it is.

    Attributes:
        scores: `loss`, and the task's metrics.
        signatures: The settings behind them.
        predictions: One for each example, as JSON holds it.
        intervals: 95 % intervals of scores, where the task has them.

    >>> Scored({"loss": 1.5, "bleu": 30.0}, {"bleu": "nrefs:1"}, ["Ouvrir"]).scores["bleu"]
    30.0
    """

    scores: Mapping[str, float]
    signatures: Mapping[str, str]
    predictions: Sequence[Any]
    intervals: Intervals = field(default_factory=dict)


def alike(score: Callable[[], Scored], processes: Processes) -> Scored:
    """What `score` finds, the same on all processes; random states are left as they were.

    What follows from scores, such as whether training goes on, is then the same, too.
    """
    import torch

    with torch.random.fork_rng(enabled=True):
        found = score()
    return replace(found, scores=processes.once(lambda: found.scores))


class Judge(Protocol):
    """What a task knows of scores."""

    def score(self, part: str, *, in_full: bool) -> Scored:
        """Score a part with the weights of just now; `in_full` with intervals, where they cost."""
        ...

    def settle(self) -> None:
        """Choose on validation what is delivered beside the weights."""
        ...

    def rows(
        self, part: str, before: Sequence[Any], after: Sequence[Any] | None
    ) -> Iterable[Mapping[str, Any]]:
        """The lines of a part's file of predictions."""
        ...

    def compared(self, part: str, before: Sequence[Any], after: Sequence[Any]) -> Iterable[Event]:
        """What tuning changed."""
        ...


class Scorer:
    """Scores the model of a run, whatever weights it has just now.

    Args:
        judge: Scores one part.
        parts: The names of those that there are.
        predictions: The file that the final part's predictions are kept in.
        emit: Is told of results.
        processes: Who scores; the main one keeps the predictions.
    """

    def __init__(
        self,
        judge: Judge,
        parts: Sequence[str],
        predictions: Path,
        emit: Listener,
        processes: Processes,
    ) -> None:
        self._judge = judge
        self._parts = parts
        self._predictions = predictions
        self._emit = emit
        self._processes = processes

    @property
    def final(self) -> str:
        """The part that the final scores are on: test, else validation, else none."""
        return next((name for name in ("test", "validation") if name in self._parts), "")

    def before(self) -> None:
        """Score the untuned model on all parts, and keep its predictions of the final one."""
        if self._processes.once(self._predictions.is_file):  # a resumed run knows them
            return
        predictions: Sequence[Any] = ()
        for name in self._parts:
            found = self._score(name, in_full=True)
            self._emit_scores("before", name, 0, 0.0, found)
            if name == self.final:
                predictions = found.predictions
        if predictions and self._processes.is_main:
            write_lines(self._predictions, self._judge.rows(self.final, predictions, None))

    def now(self, name: str) -> Scores:
        """Scores of a part, and their signatures."""
        found = self._score(name, in_full=False)
        return found.scores, found.signatures

    def after(self, step: int, epoch: float) -> None:
        """Score the delivered weights on the final part, and show what changed."""
        self._judge.settle()
        if not self.final:
            return
        found = self._score(self.final, in_full=True)
        self._emit_scores("after", self.final, step, epoch, found)
        if self._processes.is_main:
            self._compare(found)

    def _compare(self, found: Scored) -> None:
        """Keep the predictions, and show what changed."""
        untuned = [row["before"] for row in read_lines(self._predictions)]
        write_lines(self._predictions, self._judge.rows(self.final, untuned, found.predictions))
        for event in self._judge.compared(self.final, untuned, found.predictions):
            self._emit(event)

    def _emit_scores(self, when: str, name: str, step: int, epoch: float, found: Scored) -> None:
        scores, signatures = found.scores, found.signatures
        self._emit(
            Evaluated(when, name, step, epoch, scores, signatures, intervals=found.intervals)
        )

    def _score(self, name: str, *, in_full: bool) -> Scored:
        """Scores of a part."""
        return alike(lambda: self._judge.score(name, in_full=in_full), self._processes)
