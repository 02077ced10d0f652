"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError, StoppedError
from attuner.kernels import describe
from attuner.training import setup
from attuner.training.averaging import Ema
from attuner.training.changes import Change, find_changes
from attuner.training.delivery import choose_weights, merge_as_delivered
from attuner.training.disk import require_space
from attuner.training.events import (
    BadLoss,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Listener,
    Noted,
    Planned,
    Split,
    Stepped,
)
from attuner.training.folder import (
    RunFolder,
    create_run_folder,
    new_folder,
    remove_unless_resumable,
    write_text,
)
from attuner.training.hooks import TaskHooks
from attuner.training.jobs import TASKS, InTraining
from attuner.training.loop import DivergedError, LoopState, train_loop
from attuner.training.manifest import (
    build_manifest,
    device_name,
    features_fingerprint,
    machine_changes,
    require_same_data,
    require_same_features,
    require_same_model,
)
from attuner.training.result import Run as Run
from attuner.training.resuming import (
    accept,
    allowed_changes,
    recipe_of,
    require_restartable,
    running,
)
from attuner.training.scorer import Scorer, Scores
from attuner.training.seeds import train_seeds
from attuner.training.stopping import StopRequests, save_and_leave
from attuner.training.store import CheckpointStore, diverged_in

if TYPE_CHECKING:
    from attuner.recipe import Recipe


def train(recipe: Recipe, *, listeners: Sequence[Listener] = ()) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Args:
        recipe: What to do.
        listeners: Functions that are told each event; they see all and steer nothing.

    Raises:
        UserError: The data, the model or the run folder cannot be used; see `errors`.
        StoppedError: It was asked to stop, and has saved.
    """
    from attuner.recipe_loading import dump_recipe

    parent = Path(recipe.output.folder)
    made = [place for place in (parent, *parent.parents) if not place.exists()]
    folder = create_run_folder(recipe.output.folder, recipe.output.name)
    try:
        with running(folder) as requests:
            write_text(folder.recipe, dump_recipe(recipe))
            if recipe.training.seeds > 1:
                return _train_seeds(recipe, folder, listeners)
            return _Running(recipe, folder, listeners, requests).run(resumes=False)
    except BaseException:
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
        listeners: Functions that are told each event.

    Raises:
        RunError: It is no run folder, another process trains it, none of its checkpoints is whole,
            its data or model have changed, or its recipe in a way that is not allowed.
        StoppedError: It was asked to stop, and has saved.
    """
    from attuner.recipe_loading import dump_recipe
    from attuner.training.data import data_files, hub_data

    folder = RunFolder(Path(path))
    wanted = recipe_of(folder, recipe)
    with running(folder) as requests:
        if wanted.training.seeds > 1:
            _require_same_recipe(folder, wanted)
            for manifest in sorted(folder.path.glob("seed-*/manifest.json")):
                own = RunFolder(manifest.parent)
                require_same_data(own, lambda: data_files(wanted), hub_data(wanted))
            return _train_seeds(wanted, folder, listeners)
        job = _Running(wanted, folder, listeners, requests)
        if not folder.has_checkpoint:
            require_restartable(folder)
            folder.clear()
            write_text(folder.recipe, dump_recipe(wanted))
            job.emit(Noted(f"{folder.path} has no checkpoint yet: the run starts anew."))
            return job.run(resumes=False)
        folder.remove_leftovers()
        job.changes = allowed_changes(folder, wanted, inexact=inexact)
        require_same_data(folder, lambda: data_files(wanted), hub_data(wanted))
        return job.run(resumes=True)


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
    folder = Path(recipe.output.folder) / recipe.output.name
    if not folder.exists():
        return train(recipe, listeners=listeners)
    return resume(folder, recipe, inexact=inexact, listeners=listeners)


def _train_seeds(recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener]) -> Run:
    try:
        return train_seeds(
            recipe,
            folder,
            listeners,
            train=lambda one, told: train(one, listeners=told),
            resume=lambda path, told: resume(path, listeners=told),
        )
    except StoppedError as error:  # which names the seed's own folder
        happened = str(error).splitlines()[0]
        go_on = f"Go on with: attuner train --resume {folder.path}"
        raise StoppedError(f"{happened}\n{go_on}", error.exit_code) from error


def _require_same_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """Refuse to go on with several seeds by another recipe: those that are over are of the first.

    Raises:
        RunError: The recipes differ.
    """
    changes = find_changes(recipe_of(folder, None), recipe)
    if changes:
        raise RunError(
            f"{folder.path} trains several seeds by a recipe that differs in "
            f"{', '.join(change.option for change in changes)}.",
            "All seeds of a run have one recipe.",
            "Resume it without changes, or start a new run: output.name=...",
        )


# What belongs into `metrics.jsonl`.
_KEPT = (Planned, Stepped, BadLoss, Split, Evaluated, Finished, Delivered)


class _Running:
    """The state of a run while it runs."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        listeners: Sequence[Listener],
        requests: StopRequests,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.listeners = listeners
        self.requests = requests
        self.changes: Sequence[Change] = ()
        self.job = TASKS[recipe.task.name](recipe, self.emit)

    def emit(self, event: Event) -> None:
        """Tell the listeners, and keep what `metrics.jsonl` is for."""
        is_kept = isinstance(event, _KEPT) and not (isinstance(event, Planned) and event.first_step)
        if is_kept:  # a resumed run has its first plan already
            self.folder.append(event)
        for listener in self.listeners:
            listener(event)
            if text := self.requests.unsaid():
                listener(Noted(text))

    def run(self, *, resumes: bool) -> Run:
        began = time.perf_counter()
        setup.set_seeds(self.recipe.training.seed)
        self.job.find_model(self.folder.vocabulary if resumes else None)
        if resumes:
            require_same_model(self.folder, self.job.model_folder)
        self.prepared = self.job.read()
        self.emit(self.prepared)
        self.job.learn_vocabulary(self.folder.vocabulary)
        self._load()
        if not resumes:
            self.job.check_model(self.raw_model)
        self._build()
        manifest = self._manifest()
        if resumes:
            require_same_features(self.folder, manifest["features"])
            for change in machine_changes(self.folder, manifest):
                self.emit(Noted(f"Not bit for bit as it began: {change}."))
        else:
            write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))
            require_space(self.folder.path, self._needed_bytes())
        with self.hooks:
            self.scorer.before()
            state = self._loop(resumes)
            epoch = self.plan.num_epochs(state.step)
            choose_weights(
                self.recipe, self.raw_model, self.store, self.scorer, state, epoch, self.emit
            )
            with self.hooks.taken_out():
                merge_as_delivered(self.recipe, self.raw_model)
            self.scorer.after(state.step, epoch)
        return self._deliver(time.perf_counter() - began)

    def _load(self) -> None:
        """Features, device, and the checkpoint as it is."""
        self.job.encode()
        model = self.job.load_model()
        family = str(model.config.model_type)  # type: ignore[union-attr]
        self.device = setup.build_device(self.recipe, self.emit, model_type=family)
        self.accelerator = self.device.accelerator
        self.raw_model = model.to(self.accelerator.device)

    def _build(self) -> None:
        """What is trained of the model, plan, optimizer, scorer."""
        from attuner.training.optimizer import build_optimizer

        options, device, job = self.recipe.training, self.device, self.job
        for note in job.choose_trained(self.raw_model):
            self.emit(Noted(note))
        self.task = job.build_task(self.raw_model)
        self.hooks = TaskHooks(self.task, self.raw_model)
        self.plan = setup.build_plan(self.recipe, job.features, is_packed=self.task.is_packed)
        optimizer = build_optimizer(
            self.raw_model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            computes_in=device.computes_in,
            layer_decay=options.layer_decay,
        )
        self.model, self.optimizer = setup.prepare(self.accelerator, self.raw_model, optimizer)
        self.ema = Ema(self.raw_model, options.ema.decay) if options.ema else None
        self.store = CheckpointStore(
            self.folder.checkpoints,
            self.raw_model,
            optimizer,
            scaler=self.accelerator.scaler,
            ema=self.ema,
            keep=options.keep_checkpoints,
            manifest=self.folder.manifest,
            emit=self.emit,
        )
        trained = InTraining(
            self.model,
            self.raw_model,
            self.task,
            self.hooks,
            device=self.accelerator.device,
            computing=optimizer.computing if device.computes_in else self.accelerator.autocast,
        )
        self.scorer = Scorer(
            job.build_judge(trained, self.folder),
            job.parts,
            job.predictions_file(self.folder),
            self.emit,
        )

    def _manifest(self) -> dict[str, Any]:
        import torch

        from attuner.training.data import data_files, hub_data

        return build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            model=self.job.model_name,
            model_folder=self.job.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
            device=device_name(self.accelerator.device),
            precision=self.device.precision,
            kernels=describe(self.accelerator.device.type),
            num_threads=torch.get_num_threads(),
            recipe=self.recipe.model_dump(mode="json"),
            features={
                name: features_fingerprint(value) for name, value in self.job.all_features().items()
            },
        )

    def _needed_bytes(self) -> int:
        """Room for checkpoints (trained weights and two moments, fp32), the best and the model."""
        model = 4 * setup.num_parameters(self.raw_model)
        trained = 4 * setup.num_parameters(self.raw_model, trained_only=True)
        checkpoint = (4 if self.ema else 3) * trained
        return checkpoint * (self.recipe.training.keep_checkpoints + 2) + 2 * model

    def _loop(self, resumes: bool) -> LoopState:
        options = self.recipe.training
        state = LoopState()
        if resumes:
            state = self.store.load_last()
            self.folder.keep_events_until(state.step)
            for line in accept(self.folder, self.recipe, self.changes, state.step):
                self.emit(Noted(line))
        num_steps = options.max_steps or self.plan.num_updates(options.epochs)
        for note in setup.warmup_note(self.recipe, num_steps):
            self.emit(Noted(note))
        self.emit(
            Planned(
                num_examples=len(self.job.features),
                num_tokens=int(self.job.features.sizes.sum()),
                unit=self.job.unit,
                num_epochs=self.plan.num_epochs(num_steps),
                num_steps=num_steps,
                batch=setup.describe_batch(self.recipe, self.job.unit),
                accumulation=options.accumulation,
                num_parameters=setup.num_parameters(self.raw_model),
                num_trained=setup.num_parameters(self.raw_model, trained_only=True),
                device=str(self.accelerator.device),
                precision=self.device.precision,
                kernels=describe(self.accelerator.device.type),
                batches=self.task.batches,
                first_step=state.step,
            )
        )
        events = train_loop(
            self.model,
            self.optimizer,
            self.plan,
            self.accelerator,
            collate=setup.collate_training(
                self.recipe, self.task, self.job.features, self.accelerator.device
            ),
            loss=self.task.loss,
            evaluate=self._validate,
            save=self._save,
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.job.parts),
            ema=self.ema,
            state=state,
            name=self.job.addresses,
            should_stop=lambda: self.requests.is_asked,
        )
        with self.requests.deferred():
            try:
                for event in events:
                    self.emit(event)
            except DivergedError as error:
                raise diverged_in(self.folder, self.store.last, error) from error
        if self.requests.is_asked:
            save_and_leave(self.requests, self.store, state, self.folder)
        return state

    def _save(self, state: LoopState, is_best: bool) -> Path:
        self.folder.sync_events()  # a checkpoint must not be ahead of them
        return self.store.save(state)

    def _validate(self) -> Scores:
        """Scores of the weights that would be delivered."""
        with self.ema.in_use() if self.ema else nullcontext():
            return self.scorer.now("validation")

    def _deliver(self, seconds: float) -> Run:
        from attuner.cards.truth import write_card
        from attuner.evaluation.report import plot_curves
        from attuner.training.card import facts_of_run

        events = self.folder.events()
        plot_curves(events, self.folder.curves, title=self.folder.path.name)
        split = self.scorer.final
        scored = [event for event in events if event["event"] == "evaluated"]
        final = {event["when"]: event for event in scored if event["split"] == split}
        before, after = (final.get(when, {}) for when in ("before", "after"))
        run = Run(
            folder=self.folder.path,
            model_folder=self.folder.model,
            before=before.get("scores", {}),
            after=after.get("scores", {}),
            signatures=after.get("signatures", {}),
            split=split,
            seconds=seconds,
            counts=self.job.counts,
            epochs=[event for event in scored if event["split"] == "validation"],
            intervals={w: final.get(w, {}).get("intervals", {}) for w in ("before", "after")},
            usage=self.job.usage(self.folder.model),
        )
        with new_folder(self.folder.model) as partial:
            self.job.write_model(self.raw_model, partial)
            notes = self.prepared.notes
            write_card(
                facts_of_run(self.recipe, self.job, self.folder, run, partial, notes), partial
            )
        self.emit(
            Delivered(
                run.folder, run.model_folder, run.before, run.after, run.signatures,
                run.split, run.seconds,
                intervals=run.intervals,
                last=run.last if split == "validation" else {},
                usage=run.usage,
            )
        )  # fmt: skip
        return run
