"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import RunError
from attuner.kernels import describe
from attuner.training import parts, setup, vocabulary
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
from attuner.training.manifest import build_manifest, device_name, require_same_data
from attuner.training.result import Run as Run
from attuner.training.scorer import Scorer
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
        if found is None and resumes:
            found = vocabulary.load_origin(self.recipe, self.folder.vocabulary)
        prepared = self._read()
        self.origin = found or self._learn_vocabulary(prepared)
        self._build(prepared)
        if not resumes:
            self._write_manifest()
            require_space(self.folder.path, self._needed_bytes())
        with self.scorer.hooked():
            self.scorer.before()
            state = self._loop(resumes)
            self.store.load_best(state)
            self.scorer.after(state.step, self.plan.num_epochs(state.step))
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

    def _build(self, prepared: Prepared) -> None:
        """Features, model, device, plan, optimizer, scorer."""
        from attuner.tasks.translation import TranslationTask
        from attuner.training.optimizer import build_optimizer, keep_pad_row_zero

        options, codec = self.recipe.training, self.origin.codec
        self.features, self.parts, self.line_counts = parts.encode_parts(
            self.recipe, prepared, self.origin, self.emit
        )
        for note in parts.notes(self.recipe, self.line_counts, "validation" in self.parts):
            self.emit(Noted(note))
        self.raw_model = setup.load_model(self.recipe, self.origin)
        device = setup.build_device(self.recipe, self.emit)
        self.accelerator, self.precision = device.accelerator, device.precision
        self.task = TranslationTask(self.raw_model, label_smoothing=options.label_smoothing)
        self.plan = setup.build_plan(self.recipe, self.features, is_packed=self.task.is_packed)
        keep_pad_row_zero(self.raw_model)
        optimizer = build_optimizer(
            self.raw_model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            computes_in=device.computes_in,
        )
        self.model, self.optimizer = setup.prepare(self.accelerator, self.raw_model, optimizer)
        self.store = CheckpointStore(
            self.folder.checkpoints,
            self.raw_model,
            optimizer,
            scaler=self.accelerator.scaler,
            keep=options.keep_checkpoints,
            emit=self.emit,
        )
        self.scorer = Scorer(
            self.model,
            self.raw_model,
            self.task,
            codec,
            self.parts,
            setup.generation_options(self.recipe),
            device=self.accelerator.device,
            computing=optimizer.computing if device.computes_in else self.accelerator.autocast,
            batch_examples=self.recipe.generation.batch_examples,
            translations=self.folder.translations,
            emit=self.emit,
        )

    def _write_manifest(self) -> None:
        from attuner.training.data import data_files, hub_data

        manifest = build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            model=self.origin.name,
            model_folder=self.origin.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
            device=device_name(self.accelerator.device),
            precision=self.precision,
            kernels=describe(self.accelerator.device.type),
        )
        write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))

    def _needed_bytes(self) -> int:
        """Room for checkpoints (weights and two moments, fp32), the best one and the model."""
        weights = 4 * setup.num_parameters(self.raw_model)
        return 3 * weights * (self.recipe.training.keep_checkpoints + 2) + 2 * weights

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
                device=str(self.accelerator.device),
                precision=self.precision,
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
            collate=lambda rows: self.task.collate(self.features, rows, self.accelerator.device),
            loss=self.task.loss,
            evaluate=lambda: self.scorer.now("validation"),
            save=lambda state, is_best: self.store.save(state),
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.parts),
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

    def _deliver(self, counts: Mapping[str, Mapping[str, int]], seconds: float) -> Run:
        from attuner.evaluation.report import plot_curves
        from attuner.models.loading import save_model
        from attuner.models.usage import Usage, write_usage

        task = self.recipe.task
        with new_folder(self.folder.model) as partial:
            save_model(self.raw_model, self.origin.tokenizer_folder, partial)
            write_usage(
                partial,
                Usage(task.prefix, task.whole_texts, setup.max_source_tokens(self.recipe)),
            )
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
