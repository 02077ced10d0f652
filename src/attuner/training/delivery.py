"""What a run delivers: which of its weights, in which shape, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attuner.models.adapters import merge_for_good
from attuner.models.loading import save_model
from attuner.models.usage import write_usage
from attuner.training.averaging import in_use, put_in
from attuner.training.events import DataPrepared, Delivered, Evaluated, Listener, Noted
from attuner.training.folder import RunFolder, new_folder
from attuner.training.loop import LoopState, is_better
from attuner.training.origin import Origin, lasting_name
from attuner.training.result import Run
from attuner.training.scorer import Scorer
from attuner.training.setup import max_source_tokens
from attuner.training.store import CheckpointStore

if TYPE_CHECKING:
    from torch import nn

    from attuner.recipe import Recipe
    from attuner.training.jobs import Job


def choose_weights(
    recipe: Recipe,
    model: nn.Module,
    store: CheckpointStore,
    scorer: Scorer,
    state: LoopState,
    epoch: float,
    emit: Listener,
) -> None:
    """Put the weights that are delivered into the model, and say which they are.

    Those are the best by validation score or, where nothing was validated, the last. The mean of
    the last checkpoints takes their place where the recipe asks for it and it is better.

    Args:
        recipe: The recipe.
        model: The bare model.
        store: The run's checkpoints.
        scorer: Scores what the model has just now.
        state: Where the loop ended.
        epoch: Passes over the data by then.
        emit: Is told of the choice.
    """
    options = recipe.training
    if options.average_checkpoints is None:
        store.load_best(state)
        return
    mean, steps = store.mean_of_last(options.average_checkpoints)
    name = f"the mean of the last checkpoints (steps {', '.join(map(str, steps))})"
    if len(steps) < 2:
        emit(Noted("There are no two checkpoints to take the mean of: the best are delivered."))
        store.load_best(state)
        return
    if state.best is None:
        put_in(mean, model)
        emit(Noted(f"Delivered is {name}; nothing was validated that it could be compared with."))
        return
    with in_use(mean, model):
        scores, signatures = scorer.now("validation")
    metric, value = recipe.best_metric, scores[recipe.best_metric]
    takes_mean = is_better(value, state.best, metric)
    emit(
        Evaluated(
            "mean", "validation", state.step, epoch, scores, signatures, is_best=takes_mean
        )
    )  # fmt: skip
    compared = f"validation {metric} {value:.4f}, against {state.best:.4f} of the best step"
    if takes_mean:
        put_in(mean, model)
        emit(Noted(f"Delivered is {name}: {compared}."))
    else:
        emit(Noted(f"Not delivered is {name}: {compared}."))
        store.load_best(state)


def merge_as_delivered(recipe: Recipe, model: nn.Module) -> None:
    """Merge an adapter that is not delivered alone, before the last scores.

    They are then of the very weights that are written: adding the adapter's output and adding it
    to the weights differ in the last bits.
    """
    adapter = recipe.model.adapter
    if adapter is not None and adapter.save == "merged":
        merge_for_good(model)


def write_text_model(recipe: Recipe, model: nn.Module, origin: Origin, folder: Path) -> None:
    """Write the model folder, or that of an adapter for the model that the run began with."""
    from attuner.models.adapter_folder import save_adapter

    adapter = recipe.model.adapter
    if adapter is None or adapter.save == "merged":
        save_model(model, origin.tokenizer_folder, folder)
    else:
        assert origin.model_folder is not None
        save_adapter(
            model,
            origin.tokenizer_folder,
            folder,
            base=lasting_name(origin),
            base_revision=recipe.model.revision,
            base_folder=origin.model_folder,
        )
    write_usage(
        origin.codec,
        folder,
        whole_texts=recipe.text_task.whole_texts,
        max_source_tokens=max_source_tokens(recipe),
    )


def deliver(
    recipe: Recipe,
    job: Job,
    folder: RunFolder,
    model: nn.Module,
    prepared: DataPrepared,
    *,
    split: str,
    seconds: float,
    emit: Listener,
) -> Run:
    """Write the model folder with its card, and draw the curves.

    Args:
        recipe: The recipe.
        job: What is of its task.
        folder: The run's.
        model: What is delivered.
        prepared: What was said of the data.
        split: Which part the final scores are on; "" for none.
        seconds: How long the run took.
        emit: Is told of the end.
    """
    from attuner.cards.truth import write_card
    from attuner.evaluation.metric_names import loss_unit
    from attuner.evaluation.report import plot_curves
    from attuner.training.card import facts_of_run

    events = folder.events()
    unit = loss_unit(of_labels=recipe.task.name == "classification")
    plot_curves(events, folder.curves, title=folder.path.name, unit=unit)
    scored = [event for event in events if event["event"] == "evaluated"]
    final = {event["when"]: event for event in scored if event["split"] == split}
    before, after = (final.get(when, {}) for when in ("before", "after"))
    run = Run(
        folder=folder.path,
        model_folder=folder.model,
        before=before.get("scores", {}),
        after=after.get("scores", {}),
        signatures=after.get("signatures", {}),
        split=split,
        seconds=seconds,
        counts=job.counts,
        epochs=[event for event in scored if event["split"] == "validation"],
        intervals={w: final.get(w, {}).get("intervals", {}) for w in ("before", "after")},
        usage=job.usage(folder.model),
    )
    with new_folder(folder.model) as partial:
        job.write_model(model, partial)
        write_card(facts_of_run(recipe, job, folder, run, partial, prepared.notes), partial)
    emit(
        Delivered(
            run.folder, run.model_folder, run.before, run.after, run.signatures,
            run.split, run.seconds,
            intervals=run.intervals,
            last=run.last if split == "validation" else {},
            usage=run.usage,
        )
    )  # fmt: skip
    return run
