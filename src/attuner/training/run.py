"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.kernels import describe
from attuner.training import parts, setup, vocabulary
from attuner.training.averaging import Ema
from attuner.training.delivery import choose_weights, write_model
from attuner.training.disk import disk_faults, require_space
from attuner.training.events import (
    DataPrepared,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Listener,
    Noted,
    Planned,
    Progressed,
    Stepped,
)
from attuner.training.folder import (
    RunFolder,
    create_run_folder,
    new_folder,
    remove_unless_resumable,
    write_text,
)
from attuner.training.loop import DivergedError, LoopState, train_loop
from attuner.training.manifest import (
    build_manifest,
    device_name,
    require_same_data,
    require_same_model,
)
from attuner.training.result import Run as Run
from attuner.training.scorer import Scorer, Scores
from attuner.training.store import CheckpointStore

if TYPE_CHECKING:
    from attuner.data.preparation import Prepared
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
            return _Job(recipe, folder, listeners).run(resumes=False)
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
    require_same_data(folder, lambda: data_files(recipe))
    with disk_faults(folder):
        return _Job(recipe, folder, listeners).run(resumes=True)


class _Job:
    """The state of a run while it runs."""

    def __init__(self, recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener]) -> None:
        self.recipe = recipe
        self.folder = folder
        self.listeners = listeners

    def emit(self, event: Event) -> None:
        """Tell the listeners, and keep what belongs into `metrics.jsonl`."""
        if isinstance(event, Planned | Stepped | Evaluated | Finished | Delivered):
            self.folder.append(event)
        for listener in self.listeners:
            listener(event)

    def run(self, *, resumes: bool) -> Run:
        from attuner.evaluation.evaluate import require_metrics

        began = time.perf_counter()
        require_metrics(self.recipe.task.metrics)
        setup.set_seeds(self.recipe.training.seed)
        found = setup.find_origin(self.recipe)
        if resumes:
            if found is None:
                found = vocabulary.load_origin(self.recipe, self.folder.vocabulary)
            require_same_model(self.folder, found.model_folder)
        prepared = self._read()
        self.origin = found or self._learn_vocabulary(prepared)
        self._load(prepared)
        if not resumes:
            self._check_checkpoint(prepared)
        self._build()
        if not resumes:
            self._write_manifest()
            require_space(self.folder.path, self._needed_bytes())
        with self.scorer.hooked():
            self.scorer.before()
            state = self._loop(resumes)
            epoch = self.plan.num_epochs(state.step)
            choose_weights(
                self.recipe, self.raw_model, self.store, self.scorer, state, epoch, self.emit
            )
            self.scorer.after(state.step, epoch)
        counts = {**prepared.counts, **self.line_counts}
        return self._deliver(counts, time.perf_counter() - began)

    def _read(self) -> Prepared:
        from attuner.training.data import prepare_data

        prepared = prepare_data(
            self.recipe, progress=lambda done, total: self.emit(Progressed("reading", done, total))
        )
        self.emit(DataPrepared(prepared.counts, prepared.notes))
        return prepared

    def _learn_vocabulary(self, prepared: Prepared) -> setup.Origin:
        with new_folder(self.folder.vocabulary) as partial:
            vocabulary.learn(self.recipe, prepared, partial, self.emit)
        return vocabulary.load_origin(self.recipe, self.folder.vocabulary)

    def _load(self, prepared: Prepared) -> None:
        """Features, device, and the checkpoint as it is."""
        self.features, self.parts, self.line_counts = parts.encode_parts(
            self.recipe, prepared, self.origin, self.emit
        )
        for note in parts.notes(self.recipe, self.line_counts, "validation" in self.parts):
            self.emit(Noted(note))
        model = setup.load_model(self.recipe, self.origin)
        family = str(model.config.model_type)  # type: ignore[union-attr]
        self.device = setup.build_device(self.recipe, self.emit, model_type=family)
        self.accelerator = self.device.accelerator
        self.raw_model = model.to(self.accelerator.device)

    def _build(self) -> None:
        """What is trained of the model, plan, optimizer, scorer."""
        from attuner.tasks.translation import TranslationTask
        from attuner.training.optimizer import build_optimizer, keep_pad_row_zero

        options, device = self.recipe.training, self.device
        for note in setup.choose_trained(self.recipe, self.raw_model):
            self.emit(Noted(note))
        self.task = TranslationTask(
            self.raw_model, label_smoothing=options.label_smoothing, r_drop=options.r_drop
        )
        self.plan = setup.build_plan(self.recipe, self.features, is_packed=self.task.is_packed)
        keep_pad_row_zero(self.raw_model)
        optimizer = build_optimizer(
            self.raw_model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            computes_in=device.computes_in,
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
        self.scorer = Scorer(
            self.model,
            self.raw_model,
            self.task,
            self.origin.codec,
            self.parts,
            setup.generation_options(self.recipe),
            device=self.accelerator.device,
            computing=optimizer.computing if device.computes_in else self.accelerator.autocast,
            batch_examples=self.recipe.generation.batch_examples,
            translations=self.folder.translations,
            emit=self.emit,
        )

    def _check_checkpoint(self, prepared: Prepared) -> None:
        """Look whether the checkpoint is sound, and stop where the recipe says so."""
        from attuner.training.self_check import check_origin

        evaluated = [part.features for part in self.parts.values()]
        checked = check_origin(
            self.recipe, self.origin, self.raw_model, prepared, [self.features, *evaluated]
        )
        if checked is None:
            return
        if self.recipe.model.self_check == "fail":
            checked.require_sound()
        for line in checked.lines:
            self.emit(Noted(line))

    def _write_manifest(self) -> None:
        from attuner.training.data import data_files, hub_data

        manifest = build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            model=self.origin.name,
            model_folder=self.origin.model_folder,
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
                num_examples=len(self.features),
                num_target_tokens=len(self.features.target.values),
                num_epochs=self.plan.num_epochs(num_steps),
                num_steps=num_steps,
                batch=setup.describe_batch(self.recipe),
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
                self.recipe, self.task, self.features, self.accelerator.device
            ),
            loss=self.task.loss,
            evaluate=self._validate,
            save=lambda state, is_best: self.store.save(state),
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.parts),
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

    def _deliver(self, counts: Mapping[str, Mapping[str, int]], seconds: float) -> Run:
        from attuner.evaluation.report import plot_curves

        with new_folder(self.folder.model) as partial:
            write_model(self.recipe, self.raw_model, self.origin, partial)
        events = self.folder.events()
        plot_curves(events, self.folder.curves, title=self.folder.path.name)
        split = self.scorer.final
        scored = [event for event in events if event["event"] == "evaluated"]
        final = {event["when"]: event for event in scored if event["split"] == split}
        run = Run(
            folder=self.folder.path,
            model_folder=self.folder.model,
            before=final.get("before", {}).get("scores", {}),
            after=final.get("after", {}).get("scores", {}),
            signatures=final.get("after", {}).get("signatures", {}),
            split=split,
            seconds=seconds,
            counts=counts,
            epochs=[event for event in scored if event["split"] == "validation"],
        )
        self.emit(
            Delivered(
                run.folder, run.model_folder, run.before, run.after, run.signatures,
                run.split, run.seconds,
            )
        )  # fmt: skip
        return run
