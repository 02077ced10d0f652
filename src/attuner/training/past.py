"""Runs as their folders tell of them: read only, whatever state they are in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from attuner.errors import RecipeError, RunError, UserError, nearest
from attuner.recipe import LABEL_METRICS, Recipe
from attuner.training.events import (
    BadLoss,
    DataPrepared,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Intervals,
    Planned,
    Split,
    Stepped,
)
from attuner.training.folder import RunFolder

Kind = TypeVar("Kind")

_KINDS: Mapping[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (DataPrepared, Planned, Stepped, BadLoss, Split, Evaluated, Finished, Delivered)
}
_SECTIONS = ("task", "model", "training", "output")


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


def find_run(text: str, parent: Path) -> Path:
    """The folder of a run that is named by its path, or by its name below `parent`.

    Raises:
        RunError: There is none.
    """
    places = (Path(text), parent / text)
    folders = [place for place in places if place.is_dir()]
    runs = [place for place in folders if RunFolder(place).recipe.is_file()]
    if folders:
        return (runs or folders)[0]
    known = [path.name for path in _folders(parent)]
    raise RunError(
        f"There is no run {text}: neither a folder of that name, nor one in {parent}.",
        nearest(text, known) if known else "",
        f"List the runs: attuner runs list --folder {parent}",
    )


def find_runs(parent: Path) -> tuple[list[PastRun], dict[str, str]]:
    """The runs in a folder, the latest last, and why other folders in it are passed over.

    Raises:
        RunError: There is no such folder.
    """
    if not parent.is_dir():
        raise RunError(
            f"{parent}: no such folder.",
            "Runs lie in the folder that their recipe names (output.folder), or in runs.",
            "Name another one with --folder, or train: attuner demo",
        )
    runs, skipped = [], {}
    for path in _folders(parent):
        try:
            runs.append(read_run(path, with_updates=False))
        except UserError as error:
            skipped[path.name] = error.happened.removeprefix(f"{path} ").removeprefix(f"{path}: ")
    return sorted(runs, key=lambda run: (run.began, run.name)), skipped


def read_run(path: Path, *, with_updates: bool = True) -> PastRun:
    """Read a run folder; nothing in it is changed.

    Args:
        path: The folder.
        with_updates: Whether to read all updates, or the last alone.

    Raises:
        RunError: It is no run folder, or cannot be read.
    """
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        raise RunError(
            f"{path} is no run folder: it has no recipe.yaml.",
            "Expected a folder that `attuner train` wrote, such as runs/NAME.",
            "List the runs: attuner runs list",
        )
    manifest = _read_manifest(folder)
    events, num_unreadable = _read_events(folder, with_updates=with_updates)
    seeds, num_broken = _read_seeds(folder)
    return PastRun(
        folder,
        _options_of(folder, manifest),
        manifest,
        tuple(events),
        num_unreadable + num_broken,
        tuple(seeds),
        _is_locked(folder),
    )


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _read_manifest(folder: RunFolder) -> Mapping[str, Any]:
    if not folder.manifest.is_file():
        return {}
    try:
        found = json.loads(folder.manifest.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        reason = "it is no JSON object"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise RunError(
        f"{folder.manifest} cannot be read: {reason}.",
        "It says what a run began with.",
        "Put the file back: each checkpoint has a copy.",
    )


def _options_of(folder: RunFolder, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe: from the manifest, which is quicker to read, or else from its own file."""
    options = manifest.get("recipe")
    if options is None:
        from attuner.recipe_yaml import read_recipe_file

        try:
            options, _ = read_recipe_file(folder.recipe)
        except RecipeError as error:
            raise RunError(error.happened, error.expected, error.remedy) from error
    if not isinstance(options, dict):
        options = {}
    broken = [name for name in _SECTIONS if not isinstance(options.get(name), dict)]
    if broken:
        raise RunError(
            f"{folder.recipe} is no recipe of a run: it has no section {', '.join(broken)}.",
            "A run writes its recipe with all its options.",
        )
    return options


@cache
def _reader(kind: str) -> TypeAdapter[Any]:
    """What checks the fields of an event; KeyError for one that is not known."""
    return TypeAdapter(_KINDS[kind])


def _read_events(folder: RunFolder, *, with_updates: bool) -> tuple[list[Event], int]:
    """The events that are known, and the number of lines that are not."""
    events: list[Event] = []
    num_unreadable = 0
    try:
        lines = folder.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    updates = [i for i, line in enumerate(lines) if line.startswith('{"event": "stepped"')]
    passed = set() if with_updates else set(updates[:-1])
    for place, line in enumerate(lines):
        if place in passed:
            continue
        try:
            fields = json.loads(line)
            events.append(_reader(fields.pop("event")).validate_python(fields))
        except (ValueError, KeyError, TypeError, AttributeError):
            num_unreadable += 1
    return events, num_unreadable


def _read_seeds(folder: RunFolder) -> tuple[list[SeedScores], int]:
    if not folder.seeds.is_file():
        return [], 0
    found, num_unreadable, reader = [], 0, TypeAdapter(SeedScores)
    for line in folder.seeds.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(reader.validate_json(line))
        except ValidationError:
            num_unreadable += 1
    return found, num_unreadable


def _is_locked(folder: RunFolder) -> bool:
    """Whether a process holds the run; where that cannot be told, no."""
    try:
        import fcntl

        with folder.lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
