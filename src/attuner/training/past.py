"""Runs as their folders tell of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from attuner.errors import RunError
from attuner.options.task import LABEL_METRICS
from attuner.recipe import Recipe
from attuner.training.events import Delivered, Evaluated, Event, Intervals, Planned, Stepped
from attuner.training.folder import RunFolder

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class SeedScores:
    """What one of several seeds scored."""

    seed: int
    split: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    seconds: float
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as its folder tells of it.

    Attributes:
        folder: The run folder.
        options: The recipe as plain values, not checked.
        manifest: What was noted at its begin; empty where it has not begun.
        events: What happened, as far as it was asked for.
        num_unreadable: Lines of `metrics.jsonl` that tell of no event that is known.
        seeds: Of a run with several seeds: what those that are over have scored.
        is_running: Whether a process trains it just now.
    """

    folder: RunFolder
    options: Mapping[str, Any]
    manifest: Mapping[str, Any]
    events: tuple[Event, ...]
    num_unreadable: int
    seeds: tuple[SeedScores, ...]
    is_running: bool

    @property
    def name(self) -> str:
        """Name of the folder; of one of several seeds, with that of their run before it."""
        path = self.folder.path.resolve()
        seed = self.options["training"].get("seed")
        return f"{path.parent.name}-{path.name}" if path.name == f"seed-{seed}" else path.name

    @property
    def task(self) -> str:
        """What was learned, in a word or two: `en → fr`, `classification`."""
        task = self.options["task"]
        if task.get("name") != "translation":
            return str(task.get("name"))
        target = task.get("target")
        targets = ", ".join(map(str, target)) if isinstance(target, list) else target
        return f"{task.get('source')} → {targets}"

    @property
    def model(self) -> str:
        """What it started from."""
        model = self.options["model"]
        return str(model.get("checkpoint") or f"{(model.get('config') or {}).get('model_type')}")

    @property
    def num_seeds(self) -> int:
        """Seeds that are trained."""
        return int(self.options["training"].get("seeds") or 1)

    @property
    def state(self) -> str:
        """`finished`, `running`, `stopped` (it can be resumed) or `not begun`."""
        is_over = self.last(Delivered) is not None
        if self.num_seeds > 1:
            is_over = len(self.seeds) >= self.num_seeds and self.folder.model.is_dir()
        if self.is_running:
            return "running"
        if is_over:
            return "finished"
        return "stopped" if self.folder.has_checkpoint else "not begun"

    @property
    def step(self) -> int:
        """Updates so far."""
        return max((event.step for event in self.of(Stepped)), default=0)

    @property
    def num_steps(self) -> int:
        """Updates in all; 0 where not known."""
        planned = self.last(Planned)
        return planned.num_steps if planned else 0

    @property
    def began(self) -> str:
        """Date and time, ISO 8601; "" where it has not begun."""
        return str(self.manifest.get("began", ""))

    @property
    def seconds(self) -> float | None:
        """Time that it took in all its starts; None where it is not over. Of all seeds."""
        if self.seeds:
            return sum(seed.seconds for seed in self.seeds)
        delivered = self.last(Delivered)
        return delivered.seconds if delivered else None

    @property
    def split(self) -> str:
        """What the final scores are on: `test`, `validation`; "" where there are none."""
        if self.seeds:
            return self.seeds[0].split
        splits = {event.split for event in self.of(Evaluated) if event.when == "before"}
        return next((name for name in ("test", "validation") if name in splits), "")

    @property
    def before(self) -> Mapping[str, float]:
        """Scores of the untuned model on that split; of several seeds, their mean."""
        return self._scores("before")

    @property
    def after(self) -> Mapping[str, float]:
        """Scores of the delivered weights; empty where it is not over."""
        return self._scores("after")

    @property
    def signatures(self) -> Mapping[str, str]:
        """The settings behind the scores."""
        found = self._final("after") or self._final("before")
        return found.signatures if found else {}

    @property
    def intervals(self) -> Mapping[str, Intervals]:
        """95 % intervals of the scores, `before` and `after`, where there are any."""
        delivered = self.last(Delivered)
        return delivered.intervals if delivered else {}

    @property
    def curve(self) -> tuple[Evaluated, ...]:
        """Validation scores over the run, first the untuned model's."""
        whens = ("before", "epoch", "steps")
        return tuple(
            event
            for event in self.of(Evaluated)
            if event.split == "validation" and event.when in whens
        )

    @property
    def main_metric(self) -> str:
        """What the best weights are told by; "" where nothing was scored."""
        wanted = self.options["training"].get("best_metric")
        known = [*self.after, *self.before]
        metrics: tuple[str, ...] = ("chrf",)
        if wanted is not None:
            metrics = (wanted,)
        elif self.options["task"].get("name") == "classification":
            metrics = LABEL_METRICS.get(self.options["task"].get("kind", "single"), ())
        named = [*metrics, *(name for name in known if name != "loss")]
        return next((name for name in named if name in known), "")

    def of(self, kind: type[Kind]) -> Iterator[Kind]:
        """The events of a kind."""
        return (event for event in self.events if isinstance(event, kind))

    def last(self, kind: type[Kind]) -> Kind | None:
        """The last event of a kind."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def recipe(self) -> Recipe:
        """The recipe, checked.

        Raises:
            RunError: It is none that this version knows.
        """
        try:
            return Recipe.model_validate(self.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(
                f"The recipe of {self.folder.path} is none that this version knows: "
                f"{where}: {first['msg']}.",
                "Options come and go with versions; the run's is in its manifest.json.",
                "Look at it with that version.",
            ) from error

    def _final(self, when: str) -> Evaluated | None:
        found = [e for e in self.of(Evaluated) if e.when == when and e.split == self.split]
        return found[-1] if found else None

    def _scores(self, when: str) -> Mapping[str, float]:
        if self.seeds:
            rows = [getattr(seed, when) for seed in self.seeds]
            names = [name for name in rows[0] if all(name in row for row in rows)]
            return {name: sum(row[name] for row in rows) / len(rows) for name in names}
        if when == "after" and self.last(Delivered) is None:
            return {}
        found = self._final(when)
        return found.scores if found else {}
