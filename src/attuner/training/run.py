"""Runs: begun, gone on with, of one seed or several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError, StoppedError, UserError
from attuner.evaluation.own_functions import fingerprints
from attuner.training.changes import find_changes, function_changes, require_allowed
from attuner.training.events import Begun, Listener, tell
from attuner.training.folder import (
    RunFolder,
    create_run_folder,
    remove_unless_resumable,
    write_text,
)
from attuner.training.launch import joined
from attuner.training.manifest import read_manifest, require_same_data
from attuner.training.processes import Processes
from attuner.training.result import Run as Run
from attuner.training.resuming import recipe_of, running
from attuner.training.running import Running
from attuner.training.seeds import train_seeds
from attuner.training.tracking import tracked

if TYPE_CHECKING:
    from attuner.recipe import Recipe


def train(recipe: Recipe, *, listeners: Sequence[Listener] = ()) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Started as several processes, all do it together; what the main process was given counts.

    Args:
        recipe: What to do.
        listeners: Functions that are told each event, by the main process; they see all and steer
            nothing.

    Raises:
        UserError: The data, the model or the run folder cannot be used; see `errors`.
        StoppedError: It was asked to stop, and has saved.
    """
    with joined(recipe.training.device) as processes:
        return _train(recipe, processes, listeners)


def _train(recipe: Recipe, processes: Processes, listeners: Sequence[Listener]) -> Run:
    from attuner.recipe_loading import dump_recipe

    recipe = processes.once(lambda: recipe)
    listeners = listeners if processes.is_main else ()
    parent = Path(recipe.output.folder)
    made = [place for place in (parent, *parent.parents) if not place.exists()]
    folder = processes.once(lambda: create_run_folder(recipe.output.folder, recipe.output.name))
    try:
        with (
            running(folder, processes) as requests,
            tracked(recipe, folder, listeners, processes) as told,
        ):
            processes.once(lambda: write_text(folder.recipe, dump_recipe(recipe)))
            tell(told, Begun(folder.path, recipe))
            if recipe.training.seeds > 1:
                return _train_seeds(recipe, folder, processes, told)
            return Running(recipe, folder, processes, told, requests).run(resumes=False)
    except BaseException:
        if processes.is_main:
            remove_unless_resumable(folder, made)
        raise


def resume(
    path: Path | str,
    recipe: Recipe | None = None,
    *,
    inexact: bool = False,
    listeners: Sequence[Listener] = (),
) -> Run:
    """Go on with an interrupted run from its last good checkpoint, or anew if it has none.

    Args:
        path: The run folder.
        recipe: What to go on with, if it is not to be the run's own; see `changes`.
        inexact: Take changes after which the result is of neither recipe.
        listeners: Functions that are told each event, by the main process.

    Raises:
        RunError: It is no run folder, another process trains it, none of its checkpoints is whole,
            its data or model have changed, or its recipe in a way that is not allowed.
        StoppedError: It was asked to stop, and has saved.
    """
    folder = RunFolder(Path(path))
    with joined(_device(folder, recipe)) as processes:
        return _resume(folder, recipe, processes, listeners, inexact=inexact)


def _device(folder: RunFolder, recipe: Recipe | None) -> str:
    """Where a run goes on; what is wrong with its recipe is said later, by one process."""
    from attuner.recipe_loading import load_recipe

    with suppress(UserError):
        recipe = recipe or load_recipe(folder.recipe)
    return "auto" if recipe is None else recipe.training.device


def _resume(
    folder: RunFolder,
    recipe: Recipe | None,
    processes: Processes,
    listeners: Sequence[Listener],
    *,
    inexact: bool,
) -> Run:
    folder, wanted = processes.once(lambda: (folder, recipe_of(folder, recipe)))
    listeners = listeners if processes.is_main else ()
    with (
        running(folder, processes) as requests,
        tracked(wanted, folder, listeners, processes) as told,
    ):
        tell(told, Begun(folder.path, wanted))
        if wanted.training.seeds > 1:
            processes.once(lambda: _require_same_seeds(folder, wanted))
            return _train_seeds(wanted, folder, processes, told)
        job = Running(wanted, folder, processes, told, requests)
        resumes, job.changes = processes.once(lambda: job.make_ready(inexact=inexact))
        return job.run(resumes=resumes)


def begin_or_resume(
    recipe: Recipe, *, inexact: bool = False, listeners: Sequence[Listener] = ()
) -> Run:
    """Go on with the run that a recipe names (`output`), or begin it where there is none yet.

    Args:
        recipe: What to do.
        inexact: As for `resume`.
        listeners: Functions that are told each event.

    Raises:
        UserError: See `train` and `resume`.
    """
    folder = RunFolder(Path(recipe.output.folder) / recipe.output.name)
    with joined(recipe.training.device) as processes:
        if not processes.once(folder.path.exists):
            return _train(recipe, processes, listeners)
        return _resume(folder, recipe, processes, listeners, inexact=inexact)


def _train_seeds(
    recipe: Recipe, folder: RunFolder, processes: Processes, listeners: Sequence[Listener]
) -> Run:
    try:
        return train_seeds(
            recipe,
            folder,
            listeners,
            train=lambda one, told: _train(one, processes, told),
            resume=lambda path, told: _resume(
                RunFolder(path), None, processes, told, inexact=False
            ),
            processes=processes,
        )
    except StoppedError as error:  # which names the seed's own folder
        happened = str(error).splitlines()[0]
        go_on = f"Go on with: attuner train --resume {folder.path}"
        raise StoppedError(f"{happened}\n{go_on}", error.exit_code) from error


def _require_same_seeds(folder: RunFolder, recipe: Recipe) -> None:
    """Refuse to go on with several seeds by another recipe: those that are over are of the first.

    Raises:
        RunError: The recipes differ, or the data.
    """
    changes = find_changes(recipe_of(folder, None), recipe)
    if changes:
        raise RunError(
            f"{folder.path} trains several seeds by a recipe that differs in "
            f"{', '.join(change.option for change in changes)}.",
            "All seeds of a run have one recipe.",
            "Resume it without changes, or start a new run: output.name=...",
        )
    for manifest in sorted(folder.path.glob("seed-*/manifest.json")):
        own = RunFolder(manifest.parent)
        require_same_data(own, recipe)
        known = read_manifest(own).get("functions", [])
        changed = function_changes(known, fingerprints(recipe.evaluation.functions))
        require_allowed(changed, inexact=False)
