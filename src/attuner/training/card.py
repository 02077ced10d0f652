"""The facts of a run's model card: from the recipe, the job and the run folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.cards.facts import (
    Base,
    Data,
    Evaluation,
    Facts,
    LabelScore,
    Scored,
    Seeds,
    Shown,
    Source,
    Spread,
    Training,
    Use,
    read_facts,
)
from attuner.cards.metadata import license_in
from attuner.cards.truth import rewrite_card
from attuner.inference.conversion import CONVERTIBLE
from attuner.models.adapter_folder import base_folder
from attuner.models.classifier_usage import read_label_usage
from attuner.models.classifiers import labels_of, threshold_of
from attuner.models.codec import load_codec
from attuner.models.loading import model_type
from attuner.models.usage import read_usage
from attuner.training.data import sources_by_place
from attuner.training.folder import RunFolder, read_lines
from attuner.training.label_judge import in_words, spelt
from attuner.training.result import Run

if TYPE_CHECKING:
    from attuner.recipe import Recipe
    from attuner.training.events import SeedsCompared
    from attuner.training.jobs import Job
    from attuner.training.snapshot import Snapshot

# Held-out texts that are longer are not shown.
_LONGEST_SHOWN = 120
_USES = {"data.train": "train", "data.validation": "validation", "data.test": "test"}


def facts_of_run(
    recipe: Recipe, job: Job, folder: RunFolder, run: Run, model: Path, notes: Sequence[str]
) -> Facts:
    """What the card of a run's model says.

    Args:
        recipe: The run's.
        job: What it was done by.
        folder: Its folder, with all events but the last.
        run: Its result.
        model: The model folder as far as it is written.
        notes: What was noted of the data.
    """
    return _facts(recipe, job, folder, run, model, notes, folder.events())


def _facts(
    recipe: Recipe,
    job: Job,
    folder: RunFolder,
    run: Run,
    model: Path,
    notes: Sequence[str],
    events: Sequence[Mapping[str, Any]],
) -> Facts:
    base = _base(recipe, job, events, model)
    return Facts(
        name=recipe.output.name,
        address=_address(run.model_folder),
        task=recipe.task.name,
        license=recipe.output.license or base.license,
        base=base,
        data=_data(recipe, run, notes),
        use=_use(recipe, job, model),
        scored=_scored(run),
        evaluations=[_evaluation(event) for event in run.epochs if event["when"] != "after"],
        labels=list(_labels(folder)),
        shown=_shown(job.predictions_file(folder), recipe.output.card_examples),
        training=_training(recipe, folder, run, events),
    )


def facts_so_far(made: Snapshot, folder: RunFolder, model: Path) -> Facts:
    """What the card of a model says that was made amid a run.

    Its scores are those that the run had on validation by these weights; nothing is scored for it.

    Args:
        made: What made it.
        folder: The run's folder, or a copy of it.
        model: The model folder as far as it is written.
    """
    # A run that was killed has gone further than its last checkpoint.
    events = [
        event
        for event in folder.events()
        if event.get("step", 0) <= made.last_step and event["event"] != "finished"
    ]
    scored = [e for e in events if e["event"] == "evaluated" and e["split"] == "validation"]
    validated = [event for event in scored if event["when"] in ("before", "epoch", "steps")]
    before = next((event for event in validated if event["when"] == "before"), None)
    after = next((e for e in reversed(validated) if e["step"] == made.step), None)
    stepped, prepared = _last(events, "stepped"), _last(events, "dataprepared")
    run = Run(
        folder.path, folder.model,
        before=before["scores"] if before and after else {},
        after=after["scores"] if after else {},
        signatures=after["signatures"] if after else {},
        split="validation" if after else "",
        seconds=stepped["seconds"],
        counts=prepared["counts"],
        epochs=validated,
    )  # fmt: skip
    so_far = f"after step {made.last_step:,} of {stepped['num_steps']:,}"
    if made.step != made.last_step:
        so_far += f", with the best weights until then, those after step {made.step:,}"
    facts = _facts(made.recipe, made.job, folder, run, model, prepared["notes"], events)
    return facts.model_copy(update={"so_far": so_far, "shown": [], "labels": []})


def add_seeds(folder: Path, recipe: Recipe, address: Path, compared: SeedsCompared) -> None:
    """Let the card of the best of several seeds say what all of them scored.

    Args:
        folder: The model folder.
        recipe: That of all seeds.
        address: Where the folder will be.
        compared: The scores.
    """
    facts = read_facts(folder)
    spreads = {
        what: Spread(mean=_finite(spread.mean), deviation=_finite(spread.deviation))
        for what, spread in compared.spreads.items()
    }
    seeds = Seeds(
        seeds=list(compared.seeds), spreads=spreads, metric=compared.metric, best=compared.best
    )
    training = facts.training.model_copy(update={"recipe": _recipe_text(recipe)})
    rewrite_card(
        facts.model_copy(
            update={
                "name": recipe.output.name,
                "address": _address(address),
                "seeds": seeds,
                "training": training,
            }
        ),
        folder,
    )


def _base(recipe: Recipe, job: Job, events: Sequence[Mapping[str, Any]], model: Path) -> Base:
    options, planned = recipe.model, _last(events, "planned")
    name, origin = job.model_name, job.model_folder
    adapter = options.adapter
    whole = base_folder(model) or model
    return Base(
        name=Path(name).name if _kind(name, origin) == "folder" else name,
        kind=_kind(name, origin),
        revision=options.revision,
        license=license_in(origin) if origin else None,
        family=model_type(whole),
        num_parameters=planned.get("num_parameters", 0),
        num_trained=planned.get("num_trained") or 0,
        adapter=adapter.kind if adapter else "",
        is_separate=adapter is not None and adapter.save == "separate",
        frozen=list(options.freeze),
    )


def _kind(name: str, folder: Path | None) -> str:
    if folder is None:
        return "scratch"
    for kind in ("embedded", "package"):
        if name.startswith(f"{kind}:"):
            return kind
    return "folder" if Path(name).is_dir() else "hub"


def _data(recipe: Recipe, run: Run, notes: Sequence[str]) -> Data:
    places = sources_by_place(recipe)
    sources = [
        Source(
            name=_short(source.path),
            use=_USES.get(place, "mix"),
            hub_id=source.path.removeprefix("hub:") if source.path.startswith("hub:") else None,
            config=source.config,
            split=source.split if source.path.startswith("hub:") else None,
            revision=source.revision,
        )
        for place, listed in places.items()
        for source in listed
    ]
    is_divided = not (recipe.data.validation or recipe.data.test)
    has_parts = any(run.counts.get("split", {}).get(part) for part in ("validation", "test"))
    return Data(
        sources=sources,
        licenses=recipe.data.license,
        counts={
            what: _shortened(counts) if what == "read" else dict(counts)
            for what, counts in run.counts.items()
        },
        divided_by=recipe.data.split.by if is_divided and has_parts else "",
        notes=[_without_places(note, run.counts.get("read", {})) for note in notes],
    )


def _use(recipe: Recipe, job: Job, model: Path) -> Use:
    if recipe.task.name == "classification":
        labels = labels_of(model)
        assert labels is not None  # a classifier was written
        return Use(
            max_tokens=read_label_usage(model).max_tokens,
            kind=labels.kind,
            labels=list(labels.names),
            threshold=threshold_of(model) if labels.kind == "multi" else None,
            is_pair=recipe.label_task.text_pair is not None,
        )
    usage, task = read_usage(model), recipe.text_task
    assert usage is not None  # it was written just now
    is_translation = task.name == "translation"
    return Use(
        source=task.source,
        targets=list(task.targets) if is_translation else [task.told_languages[1]],
        prefix=usage.prefix,
        max_tokens=usage.max_source_tokens,
        num_beams=recipe.generation.num_beams,
        max_new_tokens=recipe.generation.max_new_tokens,
        runs_on_ctranslate2=model_type(base_folder(model) or model) in CONVERTIBLE,
        tells_languages=bool(load_codec(base_folder(model) or model).languages),
    )


def _scored(run: Run) -> Scored:
    return Scored(
        split=run.split,
        num_examples=run.counts.get("split", {}).get(run.split, 0),
        before=_finite(run.before),
        after=_finite(run.after),
        intervals={
            when: {name: (low, high) for name, (low, high) in found.items() if low <= high}
            for when, found in run.intervals.items()  # not those whose bounds are no numbers
        },
        signatures=dict(run.signatures),
        last=_finite(run.last) if run.split == "validation" else {},
    )


def _evaluation(event: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        when=event["when"],
        epoch=event["epoch"],
        scores=_finite(event["scores"]),
        train_loss=event["train_loss"],
        is_best=event["is_best"],
    )


def _labels(folder: RunFolder) -> Iterator[LabelScore]:
    if folder.labels.is_file():
        with folder.labels.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield LabelScore.model_validate(row)


def _shown(predictions: Path, number: int) -> list[Shown]:
    """Examples at even distances among the short ones: not those that flatter."""
    if not number or not predictions.is_file():
        return []
    rows = read_lines(predictions)
    shown = [_example(row) for row in rows if row["after"] is not None]  # it is amid a run
    short = [
        row for row in shown if len(row.source) + len(row.pair) <= _LONGEST_SHOWN and row.source
    ]
    number = min(number, len(short))
    return [short[place * len(short) // number] for place in range(number)]


def _example(row: Mapping[str, Any]) -> Shown:
    if "source" in row:
        return Shown(
            source=row["source"], before=row["before"], after=row["after"],
            reference=row["references"][0],
        )  # fmt: skip
    label = row["label"]
    return Shown(
        source=row["text"],
        pair=row.get("text_pair") or "",
        before=in_words(row["before"]),
        after=in_words(row["after"]),
        reference=spelt(tuple(label) if isinstance(label, list) else label),
    )


def _training(
    recipe: Recipe, folder: RunFolder, run: Run, events: Sequence[Mapping[str, Any]]
) -> Training:
    planned, finished = _last(events, "planned"), _last(events, "finished")
    manifest = json.loads(folder.manifest.read_text(encoding="utf-8"))
    stepped = _last(events, "stepped")
    return Training(
        num_steps=finished.get("num_steps", stepped.get("step", 0)),
        epochs=stepped.get("epoch", 0),
        batch=planned.get("batch", ""),
        num_tokens=planned.get("num_tokens", 0),
        unit=planned.get("unit", ""),
        num_skipped=finished.get("num_skipped", 0),
        device=manifest["machine"]["device"],
        precision=planned.get("precision", ""),
        seconds=run.seconds,
        versions=manifest["versions"],
        changes=[
            f"After step {change['after_step']:,}, {change['option']}: {change['before']} → "
            f"{change['now']}."
            for change in manifest.get("changes", ())
        ],
        recipe=_recipe_text(recipe),
    )


def _recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, paths in full shortened to their last part: they name a machine.

    The task has none, but labels and words that may look like them.
    """
    from attuner.recipe_loading import dump_values

    def without_places(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_places(item) for key, item in value.items()}
        if isinstance(value, list):
            return [without_places(item) for item in value]
        return _short(value) if isinstance(value, str) else value

    sections = recipe.model_dump(mode="json")
    return dump_values({**without_places(sections), "task": sections["task"]})


def _last(events: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    return next((event for event in reversed(events) if event["event"] == kind), {})


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _address(folder: Path) -> str:
    """A model folder as it is typed; of a path in full the last two parts."""
    return str(Path(*folder.parts[-2:]) if folder.is_absolute() else folder)


def _short(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _without_places(note: str, files: Iterable[str]) -> str:
    """A note on one line, the paths of files in it shortened."""
    for file in files:
        note = note.replace(file, _short(file))
    return " ".join(note.split())


def _shortened(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by file, paths in full shortened; those of one name are added."""
    found: dict[str, int] = {}
    for name, number in counts.items():
        found[_short(name)] = found.get(_short(name), 0) + number
    return found
