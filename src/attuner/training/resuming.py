"""Going on with a run: which one, by which recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pydantic import ValidationError

from attuner.errors import RunError, first_line
from attuner.evaluation.own_functions import fingerprints
from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.changes import (
    INEXACT,
    Change,
    find_changes,
    function_changes,
    process_changes,
    require_allowed,
    sharding_changes,
)
from attuner.training.data import data_files
from attuner.training.disk import disk_faults
from attuner.training.folder import RunFolder, write_text
from attuner.training.lock import locked
from attuner.training.manifest import read_manifest
from attuner.training.processes import Processes
from attuner.training.stopping import StopRequests, stop_requests


@contextmanager
def running(folder: RunFolder, processes: Processes) -> Iterator[StopRequests]:
    """Hold a run, and say in words what ends it: a disk that is full, Ctrl-C, SIGTERM.

    Of several processes, the main one holds it.

    Raises:
        RunError: Another process trains it, or the disk refuses to be written.
        StoppedError: It was asked to stop.
    """
    held = locked(folder) if processes.is_main else nullcontext()
    with disk_faults(folder), held, stop_requests(folder) as requests:
        yield requests


def latest_run(parent: Path) -> Path:
    """The run below a folder that was written last, of those that are not over.

    Raises:
        RunError: There is none.
    """
    runs = [RunFolder(path.parent) for path in parent.glob("*/recipe.yaml")]
    unfinished = [run for run in runs if not run.model.exists()]
    if not unfinished:
        over = f" {len(runs)} are over." if runs else ""
        raise RunError(
            f"No run in {parent} is unfinished.{over}",
            "--resume alone goes on with the latest run that was interrupted.",
            "Name a run: attuner train --resume runs/NAME",
        )

    def written(run: RunFolder) -> float:
        return max(path.stat().st_mtime for path in (run.recipe, run.metrics) if path.exists())

    return max(unfinished, key=written).path


def recipe_of(folder: RunFolder, recipe: Recipe | None) -> Recipe:
    """The recipe to go on with: the one given, or the run's own; it stays in its folder.

    Raises:
        RunError: It is no folder of a run.
    """
    if not (folder.recipe.is_file() or (recipe is not None and _was_about_to_begin(folder))):
        raise RunError(
            f"{folder.path} is no run folder: it has no recipe.yaml.",
            "Expected a folder that `attuner train` wrote, such as runs/NAME.",
        )
    recipe = recipe or load_recipe(folder.recipe)
    here = {"folder": str(folder.path.parent), "name": folder.path.name}
    return recipe.model_copy(update={"output": recipe.output.model_copy(update=here)})


def require_restartable(folder: RunFolder) -> None:
    """Refuse to start a run anew that was over, and has lost its checkpoints.

    Raises:
        RunError: It has a model, which would be lost.
    """
    if folder.model.exists():
        raise RunError(
            f"{folder.path} holds a model, but no checkpoint.",
            "A run can be resumed from its first checkpoint on.",
            f"Start a new run: attuner train {folder.recipe} output.name=...",
        )


def allowed_changes(
    folder: RunFolder,
    recipe: Recipe,
    *,
    inexact: bool,
    num_processes: int = 1,
    is_sharded: bool = False,
) -> list[Change]:
    """What differs from the recipe that the run began with, or from its processes.

    Args:
        folder: The run.
        recipe: What it is to go on with.
        inexact: Whether the user wants changes that make the result another one.
        num_processes: How many train it now.
        is_sharded: Whether each of them keeps a share of the model.

    Raises:
        RunError: There are changes that are refused.
    """
    manifest = read_manifest(folder)
    try:
        before = Recipe.model_validate(manifest["recipe"])
    except ValidationError as error:
        raise RunError(
            f"The recipe in {folder.manifest} is none that this version knows: {first_line(error)}",
            "A run is resumed by a version that knows all of its options.",
            "Install the version that it was begun with; it is in the same file.",
        ) from error
    changes = [
        *find_changes(before, recipe),
        *function_changes(manifest.get("functions", []), fingerprints(recipe.evaluation.functions)),
        *process_changes(manifest.get("processes", 1), num_processes),
        *sharding_changes(manifest.get("sharded", False), is_sharded),
    ]
    require_allowed(changes, inexact=inexact)
    return changes


def accept(
    folder: RunFolder,
    recipe: Recipe,
    changes: Sequence[Change],
    step: int,
    *,
    num_processes: int = 1,
    is_sharded: bool = False,
) -> list[str]:
    """Write changes into the run's recipe and manifest; returns lines that say them.

    Args:
        folder: The run.
        recipe: What it goes on with.
        changes: What differs from the recipe so far.
        step: The update after which they hold.
        num_processes: How many train it now.
        is_sharded: Whether each of them keeps a share of the model.
    """
    if not changes:
        if recipe.evaluation.functions:  # the recipe of a run that was fetched lacks them
            write_text(folder.recipe, dump_recipe(recipe))
        return []
    manifest = read_manifest(folder)
    manifest["recipe"] = recipe.model_dump(mode="json")
    manifest["processes"], manifest["sharded"] = num_processes, is_sharded
    manifest["functions"] = fingerprints(recipe.evaluation.functions)
    # The same files, as was seen, in places that may be others.
    places = map(str, data_files(recipe))
    manifest["data"] = dict(zip(places, manifest["data"].values(), strict=True))
    manifest.setdefault("changes", []).extend(
        {
            "after_step": step,
            "option": change.option,
            "before": change.before,
            "now": change.now,
            "is_exact": change.kind != INEXACT,
        }
        for change in changes
    )
    write_text(folder.recipe, dump_recipe(recipe))
    write_text(folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))
    return [
        f"Changed after step {step:,}: {change}."
        + (" The result is of neither recipe." if change.kind == INEXACT else "")
        for change in changes
    ]


def _was_about_to_begin(folder: RunFolder) -> bool:
    """Whether a process was killed between making a run folder and writing its recipe."""
    if not folder.path.is_dir():
        return False
    ours = {folder.checkpoints, folder.lock}
    return all(path in ours or path.name.startswith(".recipe") for path in folder.path.iterdir())
