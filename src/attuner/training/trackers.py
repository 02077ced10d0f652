"""The trackers: a way to start each, for one run, and where its user finds what it was told."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from attuner.errors import MissingExtraError
from attuner.recipe_faults import show
from attuner.training.changes import leaves
from attuner.training.folder import RunFolder, write_text

if TYPE_CHECKING:
    from attuner.recipe import Recipe

NAMES = {"tensorboard": "TensorBoard", "trackio": "trackio", "wandb": "Weights & Biases"}
LONGEST_WAIT_SECONDS = 15.0
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}
_PROJECT = "attuner"


def require_trackers(names: Sequence[str]) -> None:
    """See that trackers are installed.

    Raises:
        MissingExtraError: One is not.
    """
    for name in names:
        try:
            version(name)  # not find_spec: a folder `wandb` would pass for the package
        except PackageNotFoundError as error:
            raise MissingExtraError(NAMES[name], name) from error


def import_trackers(names: Sequence[str]) -> None:
    """Import trackers before a thread does, while nobody draws from Python's `random`.

    trackio draws from it when it is imported. What is wrong with one is said when it starts.
    """
    drawn = random.getstate()
    for name in names:
        with suppress(Exception):
            import_module(_PACKAGES[name])
    random.setstate(drawn)


def _options(recipe: Recipe) -> dict[str, str | float]:
    """The recipe as trackers take it: flat, texts and numbers."""
    found = leaves(recipe.model_dump(mode="json"))
    return {
        name: value if isinstance(value, int | float | str) else show(value)
        for name, value in found
        if value is not None
    }


def _id_of(folder: RunFolder) -> str:
    """Under which name trackers know a run; a new one where it has none."""
    if not folder.tracking_id.is_file():
        write_text(folder.tracking_id, uuid.uuid4().hex[:8])
    return folder.tracking_id.read_text(encoding="utf-8").strip()


def _project(tracker: str) -> str:
    return os.environ.get(f"{tracker.upper()}_PROJECT") or _PROJECT


def _start_tensorboard(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import TensorBoardTracker
    from torch.utils.tensorboard.summary import hparams

    # What a killed run has told after its last checkpoint is told again.
    purged = first_step + 1 if first_step else None
    tracker = TensorBoardTracker(folder.tensorboard.name, folder.path, purge_step=purged)
    tracker.start()
    if not first_step:
        # accelerate would write the options as a run of their own, named after the second.
        main = f"{'test' if _has_test(recipe) else 'validation'}/{recipe.best_metric}"
        for summary in hparams(_options(recipe), {main: None}):  # type: ignore[no-untyped-call]
            tracker.writer.file_writer.add_summary(summary)
    return tracker


def _has_test(recipe: Recipe) -> bool:
    return recipe.data.test is not None or recipe.data.split.test > 0


def _start_trackio(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import TrackioTracker

    tracker = TrackioTracker(
        _project("trackio"),
        name=f"{_run_name(recipe)}-{_id_of(folder)}",
        resume="allow",
        config=_options(recipe),
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    tracker.start()
    return tracker


def _start_wandb(recipe: Recipe, folder: RunFolder, first_step: int) -> Any:
    from accelerate.tracking import WandBTracker

    folder.wandb.mkdir(exist_ok=True)
    tracker = WandBTracker(
        _project("wandb"),
        name=_run_name(recipe),
        id=_id_of(folder),
        resume="allow",
        config=_options(recipe),
        dir=str(folder.path),
        mode=_wandb_mode(),
        settings={"silent": True, "console": "off", "init_timeout": LONGEST_WAIT_SECONDS},
    )
    tracker.start()
    return tracker


def _wandb_mode() -> str:
    """Offline, whoever is logged in: data leave the machine where its user says so."""
    return os.environ.get("WANDB_MODE") or "offline"


def _run_name(recipe: Recipe) -> str:
    """The run's name; that of a seed's run with the name of the run that it belongs to."""
    name, parent = recipe.output.name, os.path.basename(recipe.output.folder)
    return f"{parent}-{name}" if name == f"seed-{recipe.training.seed}" else name


def _where_is_wandb(recipe: Recipe, folder: RunFolder) -> str:
    if _wandb_mode() != "offline":
        return f"WANDB_MODE={_wandb_mode()}, as the environment says."
    return f"kept in {folder.wandb}, to be sent with: wandb sync {folder.wandb}/offline-run-*"


STARTS: Mapping[str, Callable[[Recipe, RunFolder, int], Any]] = {
    "tensorboard": _start_tensorboard,
    "trackio": _start_trackio,
    "wandb": _start_wandb,
}
WHERE: Mapping[str, Callable[[Recipe, RunFolder], str]] = {
    "tensorboard": lambda recipe, folder: f"tensorboard --logdir {folder.path.parent}",
    "trackio": lambda recipe, folder: f"trackio show --project {_project('trackio')}",
    "wandb": _where_is_wandb,
}
