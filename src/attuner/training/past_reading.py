"""Run folders found and read: nothing in them is changed, whatever state they are in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from attuner.errors import RecipeError, RunError, UserError, nearest
from attuner.training.events import KEPT, Event
from attuner.training.folder import RunFolder, lines_of
from attuner.training.past import PastRun, SeedScores

_KINDS: Mapping[str, type[Any]] = {kind.__name__.lower(): kind for kind in KEPT}
_SECTIONS = ("task", "model", "training", "output")


def find_run(text: str, parent: Path) -> Path:
    """The folder of a run that is named by its path, or by its name below `parent`.

    Raises:
        RunError: There is none.
    """
    places = (Path(text), parent / text)
    folders = [place for place in places if os.path.isdir(place)]  # unlike Path's, never raises
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
        lines = lines_of(folder.metrics)
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
    for line in lines_of(folder.seeds):
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
