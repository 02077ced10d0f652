"""A whole run: read, tune, score, deliver."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import RunError
from attuner.training import setup
from attuner.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    load_weights,
    prune,
    save_checkpoint,
)
from attuner.training.events import (
    Compared,
    Comparison,
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
    build_manifest,
    create_run_folder,
    new_folder,
    require_space,
    write_lines,
    write_text,
)
from attuner.training.loop import LoopState, train_loop
from attuner.training.scoring import generated_scores, token_loss, with_loss

if TYPE_CHECKING:
    from attuner.data.preparation import Prepared
    from attuner.evaluation.evaluate import Evaluation
    from attuner.recipe import Recipe

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run folder.
        model_folder: The delivered model, which transformers, Attuner and CTranslate2 read.
        before: Scores of the untuned model on `split`.
        after: Scores of the delivered weights on `split`.
        signatures: The settings behind each score.
        split: `test`, or `validation` where there is no test split; "" where nothing is held out.
        seconds: From the first file read to the model written.
        counts: Numbers of examples: `read`, `skipped`, `split`.
        epochs: Validation scores over the run, first the untuned model's.
    """

    folder: Path
    model_folder: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    signatures: Mapping[str, str]
    split: str
    seconds: float
    counts: Mapping[str, Mapping[str, int]]
    epochs: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """Scores before and after tuning."""
        return {"before": self.before, "after": self.after}

    @property
    def report(self) -> str:
        """What became better, in words."""
        lines = [f"{self.split} scores, before → after ({self.folder})"]
        for name, after in self.after.items():
            before = self.before[name]
            lines.append(f"  {name}: {before:.2f} → {after:.2f} ({after - before:+.2f})")
        return "\n".join(lines)


def train(recipe: Recipe, *, listeners: Sequence[Listener] = ()) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Args:
        recipe: What to do.
        listeners: Functions that are told each event; they see all and steer nothing.

    Raises:
        UserError: The data, the model or the run folder cannot be used; see `errors`.
    """
    from attuner.recipe_loading import dump_recipe

    folder = create_run_folder(recipe.output.folder, recipe.output.name)
    try:
        write_text(folder.recipe, dump_recipe(recipe))
        return _Job(recipe, folder, listeners).run(resumes=False)
    except BaseException:
        _forget_empty(folder)
        raise


def resume(path: Path | str, *, listeners: Sequence[Listener] = ()) -> Run:
    """Go on with an interrupted run from its last complete checkpoint.

    Args:
        path: The run folder.
        listeners: Functions that are told each event.

    Raises:
        RunError: It is no run folder, or holds no checkpoint.
    """
    from attuner.recipe_loading import load_recipe

    folder = RunFolder(Path(path))
    if not folder.recipe.is_file():
        raise RunError(
            f"{path} is no run folder: it has no recipe.yaml.",
            "Expected a folder that `attuner train` wrote, such as runs/NAME.",
        )
    if not checkpoints(folder.checkpoints):
        raise RunError(
            f"{path} holds no checkpoint.",
            "A run can be resumed from its first checkpoint on.",
            f"Start it anew: delete the folder and type: attuner train {folder.recipe}",
        )
    recipe = load_recipe(folder.recipe)
    here = {"folder": str(folder.path.parent), "name": folder.path.name}
    recipe = recipe.model_copy(update={"output": recipe.output.model_copy(update=here)})
    return _Job(recipe, folder, listeners).run(resumes=True)


class _Job:
    """The state of a run while it runs."""

    def __init__(self, recipe: Recipe, folder: RunFolder, listeners: Sequence[Listener]) -> None:
        self.recipe = recipe
        self.folder = folder
        self.listeners = listeners
        self.generation = setup.generation_settings(recipe)

    def emit(self, event: Event) -> None:
        """Tell the listeners, and keep what belongs into `metrics.jsonl`."""
        if isinstance(event, Planned | Stepped | Evaluated | Finished | Delivered):
            self.folder.append(event)
        for listener in self.listeners:
            listener(event)

    def run(self, *, resumes: bool) -> Run:
        began = time.perf_counter()
        setup.set_seeds(self.recipe.training.seed)
        prepared = self._read()
        self._load(prepared)
        if not resumes:
            self._write_manifest()
            require_space(self.folder.path, self._needed_bytes())
        with ExitStack() as self.hooks:
            self._hook()
            untuned = self._before(resumes)
            state = self._loop(resumes)
            self._take_best(state)
            tuned = self._final(state, untuned)
        return self._deliver(prepared, untuned, tuned, time.perf_counter() - began)

    def _read(self) -> Prepared:
        from attuner.training.data import prepare_data

        prepared = prepare_data(self.recipe)
        self.emit(DataPrepared(prepared.counts, prepared.notes))
        return prepared

    def _load(self, prepared: Prepared) -> None:
        """Model, tokens, features, device, optimizer."""
        from attuner.tasks.translation import TranslationTask
        from attuner.training.optimizer import build_optimizer, keep_pad_row_zero

        options = self.recipe.training
        self.start = setup.load_start(self.recipe)
        self.features, self.parts, cut = setup.encode_parts(
            self.recipe, prepared, self.start.codec, self.emit
        )
        for reason, count in cut.items():
            self.emit(Noted(f"{reason}: {count:,} training lines (data.max_source_tokens, ...)"))
        self.accelerator, self.precision = setup.build_accelerator(self.recipe, self.emit)
        self.raw_model = self.start.model
        self.task = TranslationTask(self.raw_model, label_smoothing=options.label_smoothing)
        self.plan = setup.build_plan(self.recipe, self.features, is_packed=self.task.is_packed)
        keep_pad_row_zero(self.raw_model)
        optimizer = build_optimizer(
            self.raw_model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self.model, self.optimizer = self.accelerator.prepare(self.raw_model, optimizer)

    def _hook(self) -> None:
        self.hooks.enter_context(self.task.prepared(self.raw_model))

    def _write_manifest(self) -> None:
        from attuner.training.data import data_files

        manifest = build_manifest(
            data_files=data_files(self.recipe),
            model=self.start.name,
            model_folder=self.start.model_folder,
            seeds={"training": self.recipe.training.seed, "split": self.recipe.data.split.seed},
        )
        write_text(self.folder.manifest, json.dumps(manifest, indent=2, ensure_ascii=False))

    def _needed_bytes(self) -> int:
        """Room for checkpoints (weights and two moments, fp32), the best one and the model."""
        weights = 4 * setup.num_parameters(self.raw_model)
        return 3 * weights * (self.recipe.training.keep_checkpoints + 2) + 2 * weights

    def _loop(self, resumes: bool) -> LoopState:
        options = self.recipe.training
        state = self._resumed() if resumes else LoopState()
        num_steps = options.max_steps or self.plan.num_updates(options.epochs)
        self.emit(
            Planned(
                num_examples=len(self.features),
                num_target_tokens=len(self.features.target.values),
                num_epochs=options.epochs,
                num_steps=num_steps,
                batch=setup.describe_batch(self.recipe),
                accumulation=options.accumulation,
                num_parameters=setup.num_parameters(self.raw_model),
                device=str(self.accelerator.device),
                precision=self.precision,
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
            evaluate=lambda: self._scores("validation"),
            save=self._save,
            settings=setup.loop_settings(self.recipe, num_steps, "validation" in self.parts),
            state=state,
        )
        for event in events:
            self.emit(event)
        return state

    def _resumed(self) -> LoopState:
        """The state of the last checkpoint, its weights and moments put back."""
        last = checkpoints(self.folder.checkpoints)[-1]
        state = load_checkpoint(last, self.raw_model, self.optimizer.optimizer)
        self.folder.keep_events_until(state.step)
        self.emit(Noted(f"Going on from {last}."))
        return state

    def _save(self, state: LoopState, is_best: bool) -> Path:
        saved = save_checkpoint(
            self.folder.checkpoints, self.raw_model, self.optimizer.optimizer, state
        )
        prune(self.folder.checkpoints, self.recipe.training.keep_checkpoints, state.best_step)
        return saved

    def _take_best(self, state: LoopState) -> None:
        """Put the best weights into the model, where they are not the last."""
        if state.best_step is not None and state.best_step != state.step:
            best = self.folder.checkpoints / f"step-{state.best_step:06d}"
            load_weights(best, self.raw_model)
            self.emit(Noted(f"Delivered are the best weights, those after step {state.best_step}."))

    def _before(self, resumes: bool) -> Evaluation | None:
        """Score the untuned model, on validation for the table and on the final split."""
        if resumes and self.folder.translations.is_file():
            return None
        untuned = None
        for name in self.parts:
            scores, signatures, evaluation = self._evaluate(name)
            self.emit(Evaluated("before", name, 0, 0.0, scores, signatures))
            untuned = evaluation
        if untuned is not None:
            self._write_translations(untuned.predictions, None)
        return untuned

    def _final(self, state: LoopState, untuned: Evaluation | None) -> Evaluation | None:
        """Score the delivered weights on the final split."""
        if not self.final:
            return None
        scores, signatures, tuned = self._evaluate(self.final)
        epoch = float(self.recipe.training.epochs)
        self.emit(Evaluated("after", self.final, state.step, epoch, scores, signatures))
        before = self._untuned_predictions()
        self._write_translations(before, tuned.predictions)
        self._compare(before, tuned.predictions)
        return tuned

    @property
    def final(self) -> str:
        """The split that the final scores are on: test, else validation, else none."""
        return next((name for name in ("test", "validation") if name in self.parts), "")

    def _scores(self, name: str) -> tuple[Mapping[str, float], Mapping[str, str]]:
        scores, signatures, _ = self._evaluate(name)
        return scores, signatures

    def _evaluate(self, name: str) -> tuple[dict[str, float], Mapping[str, str], Evaluation]:
        """Token loss and generated scores of a part; random states are left as they were."""
        import torch

        part = self.parts[name]
        with torch.random.fork_rng(enabled=True):
            loss = token_loss(
                self.model,
                self.task,
                part.features,
                self.accelerator.device,
                batch_examples=self.recipe.generation.batch_examples,
            )
            self.hooks.close()
            evaluation = generated_scores(
                self.raw_model,
                self.start.codec,
                part.examples,
                self.generation,
                progress=lambda done, total: self.emit(Progressed(f"scoring {name}", done, total)),
            )
            self._hook()
        return with_loss(evaluation.scores, loss), evaluation.signatures, evaluation

    def _write_translations(self, before: Sequence[str], after: Sequence[str] | None) -> None:
        examples = self.parts[self.final].examples
        rows = [
            {
                "source": example.source,
                "references": list(example.references),
                "before": before[index],
                "after": after[index] if after else None,
                "address": str(example.address),
            }
            for index, example in enumerate(examples)
        ]
        write_lines(self.folder.translations, rows)

    def _untuned_predictions(self) -> list[str]:
        lines = self.folder.translations.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["before"] for line in lines]

    def _compare(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Show what changed: those entries first that came most nearer to their reference."""
        from attuner.evaluation.report import sentence_gains

        examples = self.parts[self.final].examples
        gains = sentence_gains(before, after, [example.references for example in examples])
        order = sorted(range(len(gains)), key=lambda index: -gains[index])
        self.emit(
            Compared(
                rows=tuple(
                    Comparison(examples[i].source, before[i], after[i], examples[i].references[0])
                    for i in order[:_SHOWN]
                    if gains[i] > 0
                ),
                num_examples=len(gains),
                num_changed=sum(old != new for old, new in zip(before, after, strict=True)),
                num_nearer=sum(gain > 0 for gain in gains),
                num_further=sum(gain < 0 for gain in gains),
            )
        )

    def _deliver(
        self,
        prepared: Prepared,
        untuned: Evaluation | None,
        tuned: Evaluation | None,
        seconds: float,
    ) -> Run:
        from attuner.evaluation.report import plot_curves
        from attuner.models.loading import save_model

        with new_folder(self.folder.model) as partial:
            save_model(self.raw_model, self.start.tokenizer_folder, partial)
        events = self.folder.events()
        scored = [event for event in events if event["event"] == "evaluated"]
        plot_curves(events, self.folder.curves, title=self.folder.path.name)
        final = {event["when"]: event for event in scored if event["split"] == self.final}
        run = Run(
            folder=self.folder.path,
            model_folder=self.folder.model,
            before=final.get("before", {}).get("scores", {}),
            after=final.get("after", {}).get("scores", {}),
            signatures=final.get("after", {}).get("signatures", {}),
            split=self.final,
            seconds=seconds,
            counts=prepared.counts,
            epochs=[event for event in scored if event["split"] == "validation"],
        )
        self.emit(
            Delivered(
                run.folder, run.model_folder, run.before, run.after, run.signatures,
                run.split, run.seconds,
            )
        )  # fmt: skip
        return run


def _forget_empty(folder: RunFolder) -> None:
    """Remove a new run folder in which nothing worth keeping was written."""
    import shutil

    if not any(folder.checkpoints.glob("step-*")):
        shutil.rmtree(folder.path, ignore_errors=True)


Evaluate = Callable[[str], tuple[Mapping[str, float], Mapping[str, str]]]
