"""One run while it runs: data, model, loop, scores, delivery."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attuner.kernels import describe
from attuner.training import setup
from attuner.training.averaging import Ema
from attuner.training.changes import Change
from attuner.training.delivery import choose_weights, deliver, merge_as_delivered
from attuner.training.disk import require_space
from attuner.training.events import KEPT, DataPrepared, Event, Listener, Noted, Planned
from attuner.training.folder import RunFolder, write_text
from attuner.training.hooks import TaskHooks
from attuner.training.jobs import TASKS, InTraining
from attuner.training.launch import thread_note
from attuner.training.loop import DivergedError, LoopState, train_loop
from attuner.training.manifest import (
    build_manifest,
    features_fingerprint,
    machine_changes,
    require_same_data,
    require_same_features,
    require_same_model,
    surroundings,
)
from attuner.training.processes import ALONE, Processes
from attuner.training.result import Run
from attuner.training.resuming import accept, allowed_changes, require_restartable
from attuner.training.scorer import Judge, Scorer, Scores
from attuner.training.sharding import is_sharding_asked, require_shardable
from attuner.training.shared_state import share_files, share_model
from attuner.training.shares import MainJudge
from attuner.training.stopping import StopRequests, save_and_leave
from attuner.training.store import CheckpointStore, diverged_in
from attuner.training.trained import build_trained

if TYPE_CHECKING:
    from attuner.recipe import Recipe


class Running:
    """The state of a run while it runs.

    Args:
        recipe: What to do.
        folder: Where it is kept.
        processes: Who does it.
        listeners: Are told each event.
        requests: Whether it is to stop.

    Attributes:
        changes: What of the recipe has changed since it began, where it is resumed.
    """

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
        if isinstance(event, KEPT) and not self._is_known(event):
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

        folder, recipe = self.folder, self.recipe
        if not folder.has_checkpoint:
            require_restartable(folder)
            folder.clear()
            write_text(folder.recipe, dump_recipe(recipe))
            self.emit(Noted(f"{folder.path} has no checkpoint yet: the run starts anew."))
            return False, ()
        folder.remove_leftovers()
        changes = allowed_changes(
            folder,
            recipe,
            inexact=inexact,
            num_processes=self.processes.count,
            is_sharded=is_sharding_asked(),
        )
        require_same_data(folder, recipe)
        return True, changes

    def run(self, *, resumes: bool) -> Run:
        """From the data to the delivered model; all processes return the same."""
        if self.processes.is_main:
            return self._run(self.folder.vocabulary, resumes)
        with TemporaryDirectory(prefix="attuner-") as name:
            return self._run(Path(name) / "vocabulary", resumes)

    def _run(self, vocabulary: Path, resumes: bool) -> Run:
        began, once = time.perf_counter(), self.processes.once
        require_shardable(self.recipe, self.processes.count)
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
        once(lambda: self._keep_manifest(features, resumes))
        with self.hooks:
            self.scorer.before()
            state = self._loop(resumes, began)
            ended = time.perf_counter()
            epoch = self.plan.num_epochs(state.step)
            choose_weights(
                self.recipe, self.raw_model, self.store, self.scorer, state, epoch, self.emit
            )
            with self.hooks.taken_out():
                if self.processes.is_main or not self.trained.shares:
                    merge_as_delivered(self.recipe, self.raw_model)
            self.scorer.after(state.step, epoch)
        before = state.seconds_before + state.seconds
        seconds = before + time.perf_counter() - ended
        return once(
            lambda: deliver(
                self.recipe,
                self.job,
                self.folder,
                self.raw_model,
                self.prepared,
                split=self.scorer.final,
                seconds=seconds,
                emit=self.emit,
            )
        )

    def _learn_vocabulary(self, folder: Path) -> None:
        """Learned once, where the recipe wants that, it is that of all processes."""
        if self.processes.is_main:
            self.job.learn_vocabulary(folder)
        share_files(self.processes, folder)
        if not self.processes.is_main:
            if folder.is_dir():
                self.job.find_model(folder)
            self.job.learn_vocabulary(folder)

    def _keep_manifest(self, features: Mapping[str, str], resumes: bool) -> None:
        """Write what the run begins with, or compare what it goes on with."""
        if resumes:  # data and model were compared before they were read
            require_same_features(self.folder, features)
            for change in machine_changes(self.folder, surroundings(self.device)):
                self.emit(Noted(f"Not bit for bit as it began: {change}."))
            return
        manifest = build_manifest(
            self.recipe,
            self.job,
            self.device,
            features,
            num_processes=self.processes.count,
            is_sharded=self.trained.shares is not None,
        )
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
        options, job, model = self.recipe.training, self.job, self.raw_model
        for note in job.choose_trained(model):
            self.emit(Noted(note))
        self.trained = build_trained(self.recipe, model, self.device, self.processes)
        if self.trained.shares:
            self.emit(Noted("The model is sharded: each process keeps a share of all weights."))
        self.raw_model = self.trained.plain
        self.task = job.build_task(model)
        models = [model] if model is self.raw_model else [model, self.raw_model]
        self.hooks = TaskHooks(self.task, *models)
        self.plan = setup.build_plan(
            self.recipe, job.features, is_packed=self.task.is_packed, processes=self.processes
        )
        self.ema = Ema(self.raw_model, options.ema.decay) if options.ema else None
        self.store = CheckpointStore(
            self.folder.checkpoints,
            self.raw_model,
            self.trained.plain_optimizer,
            scaler=self.accelerator.scaler,
            ema=self.ema,
            keep=options.keep_checkpoints,
            manifest=self.folder.manifest,
            emit=self.emit,
            processes=self.processes,
            shares=self.trained.shares,
        )
        self.scorer = Scorer(
            self._judge(),
            job.parts,
            job.predictions_file(self.folder),
            self.emit,
            self.processes,
        )

    def _judge(self) -> Judge:
        """Of several processes all score, each a part; of a sharded model, one has the whole."""
        trained, device = self.trained, self.accelerator.device
        judge = self.job.build_judge(
            InTraining(
                trained.plain if trained.shares else trained.prepared,
                trained.plain,
                self.task,
                self.hooks,
                device=device,
                computing=trained.computing,
                processes=ALONE if trained.shares else self.processes,
            ),
            self.folder,
        )
        if trained.shares is None:
            return judge
        return MainJudge(judge, trained.plain, device, self.processes)

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
            self.trained.prepared,
            self.trained.optimizer,
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
        for line in accept(
            self.folder,
            self.recipe,
            self.changes,
            step,
            num_processes=self.processes.count,
            is_sharded=self.trained.shares is not None,
        ):
            self.emit(Noted(line))

    def _save(self, state: LoopState, is_best: bool) -> Path:
        if self.processes.is_main:
            self.folder.sync_events()  # a checkpoint must not be ahead of them
        return self.store.save(state)

    def _validate(self) -> Scores:
        """Scores of the weights that would be delivered."""
        if self.trained.shares:
            self.trained.shares.gather()
        with self.ema.in_use() if self.ema else nullcontext():
            return self.scorer.now("validation")
