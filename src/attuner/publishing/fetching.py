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
from attuner.training.folder import RunFolder, new_folder
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
            a folder already.
    """
    from attuner.recipe_loading import load_recipe

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
    folder = parent / Path(load_recipe(there.recipe).output.name).name
    if folder.exists():
        raise HubError(
            f"{folder} exists already.",
            f"{name} goes there; nothing is overwritten.",
            f"Go on with what is there: attuner train --resume {folder}\nOr move it away first.",
        )
    with new_folder(folder) as partial:
        shutil.copytree(there.path, partial, dirs_exist_ok=True)
    Outbox(folder / "hub").note(hub_id=hub_id)
    emit(Noted(f"{name} is in {folder} now."))
    return folder
