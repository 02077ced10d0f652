"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.kernels import describe
from attuner.training import parts, setup, vocabulary
from attuner.training.averaging import Ema
from attuner.training.changes import Change
from attuner.training.delivery import choose_weights, write_model
from attuner.training.disk import require_space
from attuner.training.events import (
    BadLoss,
    DataPrepared,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Listener,
    Noted,
    Planned,
    Progressed,
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
from attuner.training.stopping import StopRequests, save_and_leave
from attuner.training.store import CheckpointStore, diverged_in

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
        StoppedError: It was asked to stop, and has saved.
    """
    from attuner.recipe_loading import dump_recipe

    parent = Path(recipe.output.folder)
    made = [place for place in (parent, *parent.parents) if not place.exists()]
    folder = create_run_folder(recipe.output.folder, recipe.output.name)
    try:
        with running(folder) as requests:
            write_text(folder.recipe, dump_recipe(recipe))
            return _Job(recipe, folder, listeners, requests).run(resumes=False)
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
        job = _Job(wanted, folder, listeners, requests)
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


# What belongs into `metrics.jsonl`.
_KEPT = (Planned, Stepped, BadLoss, Split, Evaluated, Finished, Delivered)


class _Job:
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
        self.recipe, lowered = setup.within_positions(self.recipe, self.origin)
        for line in lowered:
            self.emit(Noted(line))
        self._load(prepared)
        if not resumes:
            self._check_checkpoint(prepared)
        self._build()
        manifest = self._manifest()
        if resumes:
            require_same_features(self.folder, manifest["features"])
            for change in machine_changes(self.folder, manifest):
                self.emit(Noted(f"Not bit for bit as it began: {change}."))
        else:
            write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))
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
        self.name_rows = partial(parts.addresses, prepared.train, self.features)
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
            manifest=self.folder.manifest,
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

    def _manifest(self) -> dict[str, Any]:
        import torch

        from attuner.training.data import data_files, hub_data

        features = {name: part.features for name, part in self.parts.items()}
        return build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            model=self.origin.name,
            model_folder=self.origin.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
            device=device_name(self.accelerator.device),
            precision=self.device.precision,
            kernels=describe(self.accelerator.device.type),
            num_threads=torch.get_num_threads(),
            recipe=self.recipe.model_dump(mode="json"),
            features={
                name: features_fingerprint(value)
                for name, value in {"train": self.features, **features}.items()
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
            save=self._save,
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.parts),
            ema=self.ema,
            state=state,
            name=self.name_rows,
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
