"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError, StoppedError, UserError
from attuner.evaluation.own_functions import fingerprints
from attuner.kernels import describe
from attuner.training import setup
from attuner.training.averaging import Ema
from attuner.training.changes import Change, find_changes, function_changes, require_allowed
from attuner.training.delivery import choose_weights, merge_as_delivered
from attuner.training.disk import require_space
from attuner.training.events import (
    BadLoss,
    Begun,
    DataPrepared,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Listener,
    Noted,
    Planned,
    Split,
    Stepped,
    tell,
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
from attuner.training.launch import joined, thread_note
from attuner.training.loop import DivergedError, LoopState, train_loop
from attuner.training.manifest import (
    build_manifest,
    device_name,
    features_fingerprint,
    machine_changes,
    read_manifest,
    require_same_data,
    require_same_features,
    require_same_model,
)
from attuner.training.processes import Processes
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
from attuner.training.shared_state import share_files, share_model
from attuner.training.stopping import StopRequests, save_and_leave
from attuner.training.store import CheckpointStore, diverged_in
from attuner.training.tracking import tracked

if TYPE_CHECKING:
    from attuner.recipe import Recipe


def train(recipe: Recipe, *, listeners: Sequence[Listener] = ()) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Started as several processes, all do it together; what the main process was given counts.

    Args:
        recipe: What to do.
        listeners: Functions that are told each event, by the main process; they see all and steer
            nothing.

    Raises:
        UserError: The data, the model or the run folder cannot be used; see `errors`.
        StoppedError: It was asked to stop, and has saved.
    """
    with joined(recipe.training.device) as processes:
        return _train(recipe, processes, listeners)


def _train(recipe: Recipe, processes: Processes, listeners: Sequence[Listener]) -> Run:
    from attuner.recipe_loading import dump_recipe

    recipe = processes.once(lambda: recipe)
    listeners = listeners if processes.is_main else ()
    parent = Path(recipe.output.folder)
    made = [place for place in (parent, *parent.parents) if not place.exists()]
    folder = processes.once(lambda: create_run_folder(recipe.output.folder, recipe.output.name))
    try:
        with (
            running(folder, processes) as requests,
            tracked(recipe, folder, listeners, processes) as told,
        ):
            processes.once(lambda: write_text(folder.recipe, dump_recipe(recipe)))
            tell(told, Begun(folder.path, recipe))
            if recipe.training.seeds > 1:
                return _train_seeds(recipe, folder, processes, told)
            return _Running(recipe, folder, processes, told, requests).run(resumes=False)
    except BaseException:
        if processes.is_main:
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
        listeners: Functions that are told each event, by the main process.

    Raises:
        RunError: It is no run folder, another process trains it, none of its checkpoints is whole,
            its data or model have changed, or its recipe in a way that is not allowed.
        StoppedError: It was asked to stop, and has saved.
    """
    folder = RunFolder(Path(path))
    with joined(_device(folder, recipe)) as processes:
        return _resume(folder, recipe, processes, listeners, inexact=inexact)


def _device(folder: RunFolder, recipe: Recipe | None) -> str:
    """Where a run goes on; what is wrong with its recipe is said later, by one process."""
    from attuner.recipe_loading import load_recipe

    with suppress(UserError):
        recipe = recipe or load_recipe(folder.recipe)
    return "auto" if recipe is None else recipe.training.device


def _resume(
    folder: RunFolder,
    recipe: Recipe | None,
    processes: Processes,
    listeners: Sequence[Listener],
    *,
    inexact: bool,
) -> Run:
    folder, wanted = processes.once(lambda: (folder, recipe_of(folder, recipe)))
    listeners = listeners if processes.is_main else ()
    with (
        running(folder, processes) as requests,
        tracked(wanted, folder, listeners, processes) as told,
    ):
        tell(told, Begun(folder.path, wanted))
        if wanted.training.seeds > 1:
            processes.once(lambda: _require_same_seeds(folder, wanted))
            return _train_seeds(wanted, folder, processes, told)
        job = _Running(wanted, folder, processes, told, requests)
        resumes, job.changes = processes.once(lambda: job.make_ready(inexact=inexact))
        return job.run(resumes=resumes)


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
    folder = RunFolder(Path(recipe.output.folder) / recipe.output.name)
    with joined(recipe.training.device) as processes:
        if not processes.once(folder.path.exists):
            return _train(recipe, processes, listeners)
        return _resume(folder, recipe, processes, listeners, inexact=inexact)


def _train_seeds(
    recipe: Recipe, folder: RunFolder, processes: Processes, listeners: Sequence[Listener]
) -> Run:
    try:
        return train_seeds(
            recipe,
            folder,
            listeners,
            train=lambda one, told: _train(one, processes, told),
            resume=lambda path, told: _resume(
                RunFolder(path), None, processes, told, inexact=False
            ),
            processes=processes,
        )
    except StoppedError as error:  # which names the seed's own folder
        happened = str(error).splitlines()[0]
        go_on = f"Go on with: attuner train --resume {folder.path}"
        raise StoppedError(f"{happened}\n{go_on}", error.exit_code) from error


def _require_same_seeds(folder: RunFolder, recipe: Recipe) -> None:
    """Refuse to go on with several seeds by another recipe: those that are over are of the first.

    Raises:
        RunError: The recipes differ, or the data.
    """
    from attuner.training.data import data_files, hub_data

    changes = find_changes(recipe_of(folder, None), recipe)
    if changes:
        raise RunError(
            f"{folder.path} trains several seeds by a recipe that differs in "
            f"{', '.join(change.option for change in changes)}.",
            "All seeds of a run have one recipe.",
            "Resume it without changes, or start a new run: output.name=...",
        )
    for manifest in sorted(folder.path.glob("seed-*/manifest.json")):
        own = RunFolder(manifest.parent)
        require_same_data(own, lambda: data_files(recipe), hub_data(recipe))
        known = read_manifest(own).get("functions", [])
        changed = function_changes(known, fingerprints(recipe.evaluation.functions))
        require_allowed(changed, inexact=False)


# What belongs into `metrics.jsonl`.
_KEPT = (DataPrepared, Planned, Stepped, BadLoss, Split, Evaluated, Finished, Delivered)


class _Running:
    """The state of a run while it runs."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        processes: Processes,
        listeners: Sequence[Listener],
        requests: StopRequests,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.processes = processes
        self.listeners = listeners
        self.requests = requests
        self.changes: Sequence[Change] = ()
        self.job = TASKS[recipe.task.name](recipe, self.emit)

    def emit(self, event: Event) -> None:
        """Tell the listeners, and keep what `metrics.jsonl` is for: on the main process."""
        if not self.processes.is_main:
            return
        if isinstance(event, _KEPT) and not self._is_known(event):
            self.folder.append(event)
        for listener in self.listeners:
            listener(event)
            if text := self.requests.unsaid():
                listener(Noted(text))

    def _is_known(self, event: Event) -> bool:
        """Whether a resumed run says again what `metrics.jsonl` has from its beginning."""
        has_begun = isinstance(event, DataPrepared) and self.folder.has_checkpoint
        return has_begun or (isinstance(event, Planned) and event.first_step > 0)

    def make_ready(self, *, inexact: bool) -> tuple[bool, Sequence[Change]]:
        """Make a run folder ready to go on: whether it resumes, and what has changed by then.

        Raises:
            RunError: It cannot go on, or not with these changes.
        """
        from attuner.recipe_loading import dump_recipe
        from attuner.training.data import data_files, hub_data

        folder, recipe = self.folder, self.recipe
        if not folder.has_checkpoint:
            require_restartable(folder)
            folder.clear()
            write_text(folder.recipe, dump_recipe(recipe))
            self.emit(Noted(f"{folder.path} has no checkpoint yet: the run starts anew."))
            return False, ()
        folder.remove_leftovers()
        changes = allowed_changes(
            folder, recipe, inexact=inexact, num_processes=self.processes.count
        )
        require_same_data(folder, lambda: data_files(recipe), hub_data(recipe))
        return True, changes

    def run(self, *, resumes: bool) -> Run:
        """From the data to the delivered model; all processes return the same."""
        if self.processes.is_main:
            return self._run(self.folder.vocabulary, resumes)
        with TemporaryDirectory(prefix="attuner-") as name:
            return self._run(Path(name) / "vocabulary", resumes)

    def _run(self, vocabulary: Path, resumes: bool) -> Run:
        began, once = time.perf_counter(), self.processes.once
        setup.set_seeds(self.recipe.training.seed, self.processes)
        if resumes:
            share_files(self.processes, vocabulary)
        self.job.find_model(vocabulary if resumes else None)
        if resumes:
            once(lambda: require_same_model(self.folder, self.job.model_folder))
        self.prepared = self.job.read()
        self.emit(self.prepared)
        self._learn_vocabulary(vocabulary)
        self._load()
        if not resumes:
            once(lambda: self.job.check_model(self.raw_model))
        self._build()
        features = {name: features_fingerprint(f) for name, f in self.job.all_features().items()}
        self.processes.require_same("The examples, in tokens,", features)
        once(lambda: self._keep_manifest(self._manifest(features), resumes))
        with self.hooks:
            self.scorer.before()
            state = self._loop(resumes, began)
            ended = time.perf_counter()
            epoch = self.plan.num_epochs(state.step)
            choose_weights(
                self.recipe, self.raw_model, self.store, self.scorer, state, epoch, self.emit
            )
            with self.hooks.taken_out():
                merge_as_delivered(self.recipe, self.raw_model)
            self.scorer.after(state.step, epoch)
        before = state.seconds_before + state.seconds
        return once(lambda: self._deliver(before + time.perf_counter() - ended))

    def _learn_vocabulary(self, folder: Path) -> None:
        """Learned once, where the recipe wants that, it is that of all processes."""
        if self.processes.is_main:
            self.job.learn_vocabulary(folder)
        share_files(self.processes, folder)
        if not self.processes.is_main:
            if folder.is_dir():
                self.job.find_model(folder)
            self.job.learn_vocabulary(folder)

    def _keep_manifest(self, manifest: dict[str, Any], resumes: bool) -> None:
        """Write it, or compare it with that of the run's beginning."""
        if resumes:
            require_same_features(self.folder, manifest["features"])
            for change in machine_changes(self.folder, manifest):
                self.emit(Noted(f"Not bit for bit as it began: {change}."))
        else:
            write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))
            require_space(self.folder.path, self._needed_bytes())

    def _load(self) -> None:
        """Features, device, and the checkpoint as it is."""
        import torch

        if self.processes.is_main:  # the others find the token ids in the cache
            self.job.encode()
        self.processes.wait()
        if not self.processes.is_main:
            self.job.encode()
        model = self.job.load_model()
        family = str(model.config.model_type)  # type: ignore[union-attr]
        self.device = setup.build_device(self.recipe, self.emit, model_type=family)
        self.accelerator = self.device.accelerator
        self.raw_model = model.to(self.accelerator.device)
        share_model(self.processes, self.raw_model)
        if note := thread_note(self.processes, torch.get_num_threads()):
            self.emit(Noted(note))

    def _build(self) -> None:
        """What is trained of the model, plan, optimizer, scorer."""
        from attuner.training.optimizer import build_optimizer

        options, device, job = self.recipe.training, self.device, self.job
        for note in job.choose_trained(self.raw_model):
            self.emit(Noted(note))
        self.task = job.build_task(self.raw_model)
        self.hooks = TaskHooks(self.task, self.raw_model)
        self.plan = setup.build_plan(
            self.recipe, job.features, is_packed=self.task.is_packed, processes=self.processes
        )
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
            processes=self.processes,
        )
        trained = InTraining(
            self.model,
            self.raw_model,
            self.task,
            self.hooks,
            device=self.accelerator.device,
            computing=optimizer.computing if device.computes_in else self.accelerator.autocast,
            processes=self.processes,
        )
        self.scorer = Scorer(
            job.build_judge(trained, self.folder),
            job.parts,
            job.predictions_file(self.folder),
            self.emit,
            self.processes,
        )

    def _manifest(self, features: Mapping[str, str]) -> dict[str, Any]:
        import torch

        from attuner.training.data import data_files, hub_data

        return build_manifest(
            data_files=data_files(self.recipe),
            hub_data=hub_data(self.recipe),
            functions=fingerprints(self.recipe.evaluation.functions),
            model=self.job.model_name,
            model_folder=self.job.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
            device=device_name(self.accelerator.device),
            precision=self.device.precision,
            kernels=describe(self.accelerator.device.type),
            num_threads=torch.get_num_threads(),
            num_processes=self.processes.count,
            recipe=self.recipe.model_dump(mode="json"),
            features=features,
        )

    def _needed_bytes(self) -> int:
        """Room for checkpoints (trained weights and two moments, fp32), the best and the model."""
        model = 4 * setup.num_parameters(self.raw_model)
        trained = 4 * setup.num_parameters(self.raw_model, trained_only=True)
        checkpoint = (4 if self.ema else 3) * trained
        return checkpoint * (self.recipe.training.keep_checkpoints + 2) + 2 * model

    def _loop(self, resumes: bool, began: float) -> LoopState:
        options = self.recipe.training
        state = LoopState()
        if resumes:
            state = self.store.load_last()
            self.processes.once(lambda: self._go_on_after(state.step))
        state.seconds_before += time.perf_counter() - began
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
                device=self.accelerator.device.type,
                precision=self.device.precision,
                kernels=describe(self.accelerator.device.type),
                batches=self.task.batches,
                first_step=state.step,
                num_processes=self.processes.count,
            )
        )
        events = train_loop(
            self.model,
            self.optimizer,
            self.plan,
            self.accelerator,
            collate=setup.collate_training(
                self.recipe,
                self.task,
                self.job.features,
                self.accelerator.device,
                num_processes=self.processes.count,
            ),
            loss=self.task.loss,
            evaluate=self._validate,
            save=self._save,
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.job.parts),
            ema=self.ema,
            state=state,
            name=self.job.addresses,
            should_stop=lambda: self.requests.is_agreed(self.processes),
            processes=self.processes,
        )
        with self.requests.deferred():
            try:
                for event in events:
                    self.emit(event)
            except DivergedError as error:
                raise diverged_in(self.folder, self.store.last, error) from error
        if self.requests.is_agreed(self.processes):
            save_and_leave(self.requests, self.store, state, self.folder)
        return state

    def _go_on_after(self, step: int) -> None:
        self.folder.keep_events_until(step)
        num_processes = self.processes.count
        for line in accept(
            self.folder, self.recipe, self.changes, step, num_processes=num_processes
        ):
            self.emit(Noted(line))

    def _save(self, state: LoopState, is_best: bool) -> Path:
        if self.processes.is_main:
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
