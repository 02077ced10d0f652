"""Bring a run that was pushed while it went to this machine, to go on with it here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from attuner.errors import HubError
from attuner.models.download import download
from attuner.publishing.outbox import Outbox
from attuner.publishing.states import RUN
from attuner.training.events import Event, Noted, Progressed
from attuner.training.folder import RunFolder, new_folder, write_text
from attuner.training.launch import announced

_PREFIX = "hub:"


def is_on_hub(name: str) -> bool:
    """Whether a run is named by its repository: `hub:user/name`, or with `@` and a revision."""
    return name.startswith(_PREFIX) and not os.path.exists(name)


def fetch_run(name: str, parent: Path, emit: Callable[[Event], None]) -> Path:
    """Fetch a run's folder.

    Args:
        name: `hub:ID` or `hub:ID@REVISION`.
        parent: Where it goes, by the name that it had.
        emit: Is told of progress.

    Returns:
        Its new folder.

    Raises:
        HubError: The repository cannot be read, holds no run, or one that is over; or there is such
            a folder already. Or the run is there, and its recipe names code: that is left out of
            the recipe, and the user has to say which code he means.
    """
    from attuner.options.evaluation import Evaluation
    from attuner.recipe_loading import dump_recipe, load_recipe

    if announced() > 1:
        raise HubError(
            f"{name} was to be fetched by one of {announced()} processes.",
            "A run is fetched by one process, and can then be trained by several.",
            f"First type: attuner train --resume {name}\nThe run is then in {parent}: go on with "
            f"it there with --resume {parent}/NAME.",
        )
    hub_id, _, revision = name.removeprefix(_PREFIX).partition("@")
    snapshot = download(
        hub_id,
        revision=revision or None,
        allow=[f"{RUN}/*"],
        progress=lambda done, total: emit(
            Progressed("fetching the run, in kB,", done // 1000, total // 1000)
        ),
    )
    there = RunFolder(snapshot / RUN)
    if not there.recipe.is_file():
        raise HubError(
            f"{name} holds no run.",
            "Expected a repository that a run was pushed to while it went (publish.hub_id).",
            f"To start from its model: attuner train RECIPE model={hub_id}",
        )
    if not there.has_checkpoint:
        raise HubError(
            f"{name} holds no checkpoint: the run is over, or was pushed without "
            "(publish.checkpoints=false).",
            "A run goes on from its last checkpoint, which is on the Hub until the run is over.",
            "Give the commit of an epoch as hub:ID@COMMIT, or start from its model: "
            f"attuner train RECIPE model={hub_id}",
        )
    # Its last part alone: what others pushed must not choose another place.
    recipe = load_recipe(there.recipe)
    functions = recipe.evaluation.functions
    folder = parent / Path(recipe.output.name).name
    if folder.exists():
        raise HubError(
            f"{folder} exists already.",
            f"{name} goes there; nothing is overwritten.",
            f"Go on with what is there: attuner train --resume {folder}\nOr move it away first.",
        )
    with new_folder(folder) as partial:
        # Runs of single seeds are never pushed; each would have a recipe of its own.
        seeds = shutil.ignore_patterns("seed-*", "seeds.jsonl")
        shutil.copytree(there.path, partial, dirs_exist_ok=True, ignore=seeds)
        if functions:
            without = recipe.model_copy(update={"evaluation": Evaluation()})
            write_text(RunFolder(partial).recipe, dump_recipe(without))
    Outbox(folder / "hub").note(hub_id=hub_id)
    if functions:
        named = ", ".join(Path(function).name for function in functions)
        raise HubError(
            f"{name} is in {folder} now, and its recipe names code: evaluation.functions={named}.",
            "What a repository names is never run: it was left out of the recipe.",
            "Give the functions that you trust, from where you have them: "
            f"attuner train --resume {folder} 'evaluation.functions=[my_metrics.py:kappa]'",
        )
    emit(Noted(f"{name} is in {folder} now."))
    return folder
