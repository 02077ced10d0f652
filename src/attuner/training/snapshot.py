"""The model that a run would deliver just now, made from its checkpoints by another process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.recipe_loading import load_recipe
from attuner.training.averaging import put_in
from attuner.training.checkpoint import EMA, MODEL, read_weights
from attuner.training.checkpoint_folder import STATE, checkpoint_name, checkpoints
from attuner.training.delivery import merge_as_delivered
from attuner.training.folder import RunFolder
from attuner.training.jobs import TASKS, Job

if TYPE_CHECKING:
    from attuner.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model that was made amid a run.

    Attributes:
        recipe: The run's.
        job: What made it.
        step: The update after which its weights are.
        last_step: The last update of the run by then.
    """

    recipe: Recipe
    job: Job
    step: int
    last_step: int


def write_model_so_far(folder: RunFolder, target: Path) -> Snapshot:
    """Write the model folder of the best weights so far, or of the last where none are the best.

    No data are read. The mean of several checkpoints is left to the end of the run.

    Args:
        folder: The run, or a copy of it.
        target: An empty folder.

    Raises:
        RunError: There is no checkpoint, or it is damaged.
        ModelError: The model that the run began with is no longer there.
    """
    found = checkpoints(folder.checkpoints)
    if not found:
        raise RunError(
            f"{folder.path} has no checkpoint.", "A model so far is made from the latest ones."
        )
    loop = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))["loop"]
    best_step = loop.get("best_step") or 0
    best = folder.checkpoints / checkpoint_name(best_step)
    recipe = load_recipe(folder.recipe)
    job = TASKS[recipe.task.name](recipe, lambda event: None)
    job.find_model(folder.vocabulary)
    job.learn_vocabulary(folder.vocabulary)
    model = job.load_model()
    job.choose_trained(model)
    chosen, step = (best, best_step) if best.is_dir() else (found[-1], loop["step"])
    weights = read_weights(chosen, model, file=EMA if recipe.training.ema else MODEL)
    put_in(weights, model)
    merge_as_delivered(recipe, model)
    job.write_model(model, target)
    return Snapshot(recipe, job, step, loop["step"])
