"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.kernels import describe
from attuner.training import setup
from attuner.training.averaging import Ema
from attuner.training.delivery import choose_weights
from attuner.training.disk import disk_faults, require_space
from attuner.training.events import (
    Delivered,
    Evaluated,
    Event,
    Finished,
    Listener,
    Noted,
    Planned,
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
    require_same_data,
    require_same_model,
)
from attuner.training.result import Run as Run
from attuner.training.scorer import Scorer, Scores
from attuner.training.seeds import train_seeds
from attuner.training.store import CheckpointStore

if TYPE_CHECKING:
    from attuner.recipe import Recipe


def train(recipe: Recipe, *, listeners: Sequence[Listener] = ()) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Args:
        recipe: What to do.
        listeners: Functions that are told each event; they see all and steer nothing.

    Raises:
        UserError: The data, the model or the run folder cannot be used; see `errors`.
    """
    from attuner.recipe_loading import dump_recipe

    parent = Path(recipe.output.folder)
    made = [place for place in (parent, *parent.parents) if not place.exists()]
    folder = create_run_folder(recipe.output.folder, recipe.output.name)
    try:
        with disk_faults(folder):
            write_text(folder.recipe, dump_recipe(recipe))
            if recipe.training.seeds > 1:
                return _train_seeds(recipe, folder, listeners)
            return _Running(recipe, folder, listeners).run(resumes=False)
    except BaseException:
        remove_unless_resumable(folder, made)
        raise


def resume(path: Path | str, *, listeners: Sequence[Listener] = ()) -> Run:
    """Go on with an interrupted run from its last good checkpoint.

    Args:
        path: The run folder.
        listeners: Functions that are told each event.

    Raises:
        RunError: It is no run folder, holds no good checkpoint, or its data have changed.
    """
    from attuner.recipe_loading import load_recipe
    from attuner.training.data import data_files

    folder = RunFolder(Path(path))
    if not folder.recipe.is_file():
        raise RunError(
            f"{path} is no run folder: it has no recipe.yaml.",
            "Expected a folder that `attuner train` wrote, such as runs/NAME.",
        )
    if not folder.has_checkpoint:
        raise RunError(
            f"{path} holds no checkpoint.",
            "A run can be resumed from its first checkpoint on.",
            f"Start it anew: delete the folder and type: attuner train {folder.recipe}",
        )
    recipe = load_recipe(folder.recipe)
    here = {"folder": str(folder.path.parent), "name": folder.path.name}
    recipe = recipe.model_copy(update={"output": recipe.output.model_copy(update=here)})
    if recipe.training.seeds > 1:
        for manifest in sorted(folder.path.glob("seed-*/manifest.json")):
            require_same_data(RunFolder(manifest.parent), lambda: data_files(recipe))
        with disk_faults(folder):
            return _train_seeds(recipe, folder, listeners)
    require_same_data(folder, lambda: data_files(recipe))
    with disk_faults(folder):
        return _Running(recipe, folder, listeners).run(resumes=True)


def _train_seeds(recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener]) -> Run:
    return train_seeds(
        recipe,
        folder,
        listeners,
        train=lambda one, told: train(one, listeners=told),
        resume=lambda path, told: resume(path, listeners=told),
    )


class _Running:
    """The state of a run while it runs."""

    def __init__(self, recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener]) -> None:
        self.recipe = recipe
        self.folder = folder
        self.listeners = listeners
        self.job = TASKS[recipe.task.name](recipe, self.emit)

    def emit(self, event: Event) -> None:
        """Tell the listeners, and keep what belongs into `metrics.jsonl`."""
        if isinstance(event, Planned | Stepped | Evaluated | Finished | Delivered):
            self.folder.append(event)
        for listener in self.listeners:
            listener(event)

    def run(self, *, resumes: bool) -> Run:
        began = time.perf_counter()
        setup.set_seeds(self.recipe.training.seed)
        self.job.find_model(self.folder.vocabulary if resumes else None)
        if resumes:
            require_same_model(self.folder, self.job.model_folder)
        self.emit(self.job.read())
        self.job.learn_vocabulary(self.folder.vocabulary)
        self._load()
        if not resumes:
            self.job.check_model(self.raw_model)
        self._build()
        if not resumes:
            self._write_manifest()
            require_space(self.folder.path, self._needed_bytes())
        with self.hooks:
            self.scorer.before()
            state = self._loop(resumes)
            epoch = self.plan.num_epochs(state.step)
            choose_weights(
                self.recipe, self.raw_model, self.store, self.scorer, state, epoch, self.emit
            )
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

    def _write_manifest(self) -> None:
        from attuner.training.data import data_files, hub_data

        manifest = build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            model=self.job.model_name,
            model_folder=self.job.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
            device=device_name(self.accelerator.device),
            precision=self.device.precision,
            kernels=describe(self.accelerator.device.type),
        )
        write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))

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
        num_steps = options.max_steps or self.plan.num_updates(options.epochs)
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
            save=lambda state, is_best: self.store.save(state),
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.job.parts),
            ema=self.ema,
            state=state,
        )
        try:
            for event in events:
                self.emit(event)
        except DivergedError as error:
            last = self.store.last
            saved = f"The last good checkpoint is {last}." if last else "No checkpoint was saved."
            raise RunError(error.happened, f"{error.expected} {saved}", error.remedy) from error
        return state

    def _validate(self) -> Scores:
        """Scores of the weights that would be delivered."""
        with self.ema.in_use() if self.ema else nullcontext():
            return self.scorer.now("validation")

    def _deliver(self, seconds: float) -> Run:
        from attuner.evaluation.report import plot_curves

        with new_folder(self.folder.model) as partial:
            self.job.write_model(self.raw_model, partial)
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
