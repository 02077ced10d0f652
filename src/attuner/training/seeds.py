"""Several runs that differ in their seed alone: how much of a score is chance.

Each is a run of its own in the folder `seed-NUMBER`, made by the one loop and resumed like any
other. What it scored is kept in `seeds.jsonl`; its checkpoints are then no longer needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from attuner.training.card import add_seeds
from attuner.training.events import Delivered, Event, Listener, Noted, SeedsCompared, Spread, tell
from attuner.training.folder import RunFolder, new_folder, read_lines, write_lines
from attuner.training.loop import is_better
from attuner.training.processes import ALONE, Processes
from attuner.training.result import Run

if TYPE_CHECKING:
    from attuner.recipe import Recipe

# Trains one seed's recipe, or goes on with it.
TrainOne = Callable[["Recipe", Sequence[Listener]], Run]
ResumeOne = Callable[[Path, Sequence[Listener]], Run]


def train_seeds(
    recipe: Recipe,
    folder: RunFolder,
    listeners: Sequence[Listener],
    *,
    train: TrainOne,
    resume: ResumeOne,
    processes: Processes = ALONE,
) -> Run:
    """Train each seed that is not done yet, and deliver the best by validation.

    Args:
        recipe: One with `training.seeds` above 1.
        folder: The run's folder.
        listeners: Functions that are told each event.
        train: Does a run with one seed.
        resume: Goes on with one.
        processes: Who trains; the main one keeps what is scored.

    Returns:
        The delivered seed's run, with the spreads of all.
    """
    once = processes.once
    once(lambda: shutil.rmtree(folder.checkpoints, ignore_errors=True))  # each seed has its own
    first = recipe.training.seed
    seeds = tuple(range(first, first + recipe.training.seeds))
    runs: dict[int, Run] = {}
    for place, seed in enumerate(seeds, start=1):
        done = once(partial(_done, folder, seed))
        if done is None:
            tell(listeners, Noted(f"Seed {seed}, {place} of {len(seeds)}:"))
            own = RunFolder(folder.path / f"seed-{seed}")
            told = _without_delivery(listeners)
            if once(partial(_is_begun, own)):
                done = resume(own.path, told)
            else:
                done = train(_recipe_of(recipe, own, seed), told)
            once(partial(_keep, folder, seed, done))
        runs[seed] = done
    metric = recipe.best_metric
    best = _best_seed(runs, metric)
    compared = SeedsCompared(seeds, _spreads(list(runs.values()), metric), metric, best)
    once(lambda: _deliver(runs[best].model_folder, recipe, folder.model, compared))
    tell(listeners, compared)
    run = replace(
        runs[best],
        folder=folder.path,
        model_folder=folder.model,
        seconds=sum(run.seconds for run in runs.values()),
        spreads={what: asdict(spread) for what, spread in compared.spreads.items()},
    )
    delivered = Delivered(
        run.folder, run.model_folder, run.before, run.after, run.signatures, run.split, run.seconds,
        intervals=run.intervals, last=run.last if run.split == "validation" else {},
        usage={where: text.replace(str(runs[best].model_folder), str(folder.model))
               for where, text in run.usage.items()},
    )  # fmt: skip
    tell(listeners, delivered)
    return run


def _is_begun(own: RunFolder) -> bool:
    """Whether a seed's run has a checkpoint to go on from; what else there is of it is removed."""
    if own.has_checkpoint:
        return True
    shutil.rmtree(own.path, ignore_errors=True)
    return False


def _recipe_of(recipe: Recipe, own: RunFolder, seed: int) -> Recipe:
    """The recipe of one seed's run."""
    place = {"folder": str(own.path.parent), "name": own.path.name}
    return recipe.model_copy(
        update={
            "training": recipe.training.model_copy(update={"seed": seed, "seeds": 1}),
            "output": recipe.output.model_copy(update=place),
        }
    )


def _deliver(
    model_folder: Path, recipe: Recipe, destination: Path, compared: SeedsCompared
) -> None:
    """Copy one seed's model, with a card that tells of all seeds."""
    with new_folder(destination) as folder:
        shutil.copytree(model_folder, folder, dirs_exist_ok=True)
        add_seeds(folder, recipe, destination, compared)


def _without_delivery(listeners: Sequence[Listener]) -> list[Listener]:
    """The listeners, but for the end of each run: one model is delivered of all."""

    def passing(listener: Listener) -> Listener:
        def listen(event: Event) -> None:
            if not isinstance(event, Delivered):
                listener(event)

        return listen

    return [passing(listener) for listener in listeners]


def _keep(folder: RunFolder, seed: int, run: Run) -> None:
    """Note what a seed scored, and drop its checkpoints."""
    rows = _rows(folder)
    fields: dict[str, Any] = asdict(run)
    for name in ("folder", "model_folder"):
        fields[name] = str(Path(fields[name]).relative_to(folder.path))
    write_lines(folder.seeds, [*rows, {"seed": seed, **fields}])
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def _done(folder: RunFolder, seed: int) -> Run | None:
    """What a seed scored, where its run is over."""
    for row in _rows(folder):
        if row.pop("seed") == seed:
            paths = {name: folder.path / row[name] for name in ("folder", "model_folder")}
            return Run(**{**row, **paths})
    return None


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    if not folder.seeds.is_file():
        return []
    return read_lines(folder.seeds)


def _best_seed(runs: Mapping[int, Run], metric: str) -> int:
    """The seed with the best validation score; the first where nothing was validated."""
    best, value = next(iter(runs)), None
    for seed, run in runs.items():
        score = _best_scores(run, metric).get(metric)
        if score is not None and is_better(score, value, metric):
            best, value = seed, score
    return best


def _best_scores(run: Run, metric: str) -> Mapping[str, float]:
    """Validation scores at the best evaluation while training."""
    found: Mapping[str, float] = {}
    for event in run.epochs:
        scores = event["scores"]
        if event["when"] != "before" and is_better(scores[metric], found.get(metric), metric):
            found = scores
    return found


def _spreads(runs: Sequence[Run], metric: str) -> dict[str, Spread]:
    """Test scores and validation scores over the seeds."""
    kinds = {
        "test": [run.after if run.split == "test" else {} for run in runs],
        "validation, best epoch": [_best_scores(run, metric) for run in runs],
        "validation, last epoch": [run.last for run in runs],
    }
    return {what: _spread(scores) for what, scores in kinds.items() if scores[0]}


def _spread(scores: Sequence[Mapping[str, float]]) -> Spread:
    """Mean and standard deviation of each score.

    >>> _spread([{"f1": 88.0}, {"f1": 90.0}]).mean
    {'f1': 89.0}
    """
    values = {name: [one[name] for one in scores if name in one] for name in scores[0]}
    return Spread(
        {name: mean(found) for name, found in values.items()},
        {name: stdev(found) if len(found) > 1 else 0.0 for name, found in values.items()},
    )
