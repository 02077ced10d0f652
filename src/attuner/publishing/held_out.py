"""What an export is compared on: the run's own validation examples, or data that are named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attuner.data.labelled import LabelledExample
from attuner.data.labels import LabelSet, names_in, numbered_labels
from attuner.data.units import Example
from attuner.errors import DataError
from attuner.models.fingerprint import file_sha256
from attuner.training.folder import RunFolder

if TYPE_CHECKING:
    from attuner.recipe import Recipe

Examples = list[Example] | list[LabelledExample]
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Examples to compare a model with its export on.

    Attributes:
        examples: At least one.
        part: `validation` or `test` of the run, or `data`.
        origin: The run folder, or the data.
        metrics: Those of the run's recipe; None where no run is known.
    """

    examples: Examples
    part: str
    origin: str
    metrics: tuple[str, ...] | None = None

    @property
    def in_words(self) -> str:
        """How many, of what.

        >>> HeldOut([], "validation", "runs/kde").in_words, HeldOut([], "data", "a.po").in_words
        ('0 validation examples of runs/kde', '0 examples of a.po')
        """
        part = "" if self.part == "data" else f"{self.part} "
        return f"{len(self.examples):,} {part}examples of {self.origin}"


def run_of(model_folder: Path) -> RunFolder | None:
    """The run that a model folder was delivered by, if it still lies there."""
    run = RunFolder(model_folder.resolve().parent)
    is_run = model_folder.resolve() == run.model.resolve() and run.recipe.is_file()
    return RunFolder(model_folder.parent) if is_run else None


def of_run(
    run: RunFolder, labels: LabelSet | None, options: Mapping[str, str], *, limit: int
) -> HeldOut:
    """The validation examples of a run, or those of test where there are none of validation.

    Args:
        run: The run.
        labels: Of a classifier.
        options: How messages spell options.
        limit: The most examples, spread over all.

    Raises:
        DataError: Its data have changed or gone, or nothing was held out.
    """
    from attuner.recipe_loading import load_recipe

    recipe = load_recipe(run.recipe)
    otherwise = (
        f"Name other examples: {options['data'].format('FILE')}; or export without comparing: "
        f"{options['check']}"
    )
    _require_same(run, otherwise)
    parts = _prepared(recipe, labels)
    part = next((name for name in ("validation", "test") if parts[name]), None)
    if part is None:
        raise DataError(
            f"{run.path} held nothing out: there is nothing to compare the export with its model "
            "on.",
            "Expected a run with validation examples, or data to compare on.",
            otherwise,
        )
    metrics = None if labels is not None else tuple(recipe.text_task.metrics)
    return HeldOut(spread(parts[part], limit), part, str(run.path), metrics)


def of_data(
    model: str,
    data: str,
    labels: LabelSet | None,
    reading: Mapping[str, Any],
    options: Mapping[str, str],
    *,
    limit: int,
) -> HeldOut:
    """Examples of data that are named.

    Args:
        model: The model as it was named.
        data: A file, folder, glob, `package:NAME` or `hub:ID`.
        labels: Of a classifier.
        reading: How to read them, as `evaluate_data` and `evaluate_labels` are told.
        options: How messages spell these.
        limit: The most examples, spread over all.

    Raises:
        DataError: The data cannot be read, or hold nothing to compare on.
        UsageError: The languages are not given, and the model does not say.
    """
    if labels is None:
        from attuner.evaluation.on_data import read_examples

        read = read_examples(model, data, **reading, options=options).examples
        return HeldOut(spread(read, limit), "data", data)
    from attuner.evaluation.labels_on_data import read_label_examples

    found, _ = read_label_examples(model, data, labels, **reading, options=options)
    return HeldOut(spread(found, limit), "data", data)


def spread(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """At most `limit` of the entries, spread evenly over all.

    >>> spread([0, 1, 2, 3, 4, 5], 3), spread([0, 1], 3)
    ([0, 2, 4], [0, 1])
    """
    if len(entries) <= limit:
        return list(entries)
    return [entries[place * len(entries) // limit] for place in range(limit)]


def _prepared(recipe: Recipe, labels: LabelSet | None) -> Mapping[str, Any]:
    """The held-out parts of a recipe's data."""
    if labels is None:
        from attuner.training.data import prepare_data

        texts = prepare_data(recipe)
        return {"validation": texts.validation, "test": texts.test}
    from attuner.training.labelled_data import prepare_labels

    labelled = prepare_labels(recipe)
    return {part: _known(getattr(labelled, part), labels) for part in ("validation", "test")}


def _known(examples: Sequence[LabelledExample], labels: LabelSet) -> list[LabelledExample]:
    """Those whose labels the model knows, numbers by their names; as when the run read them."""
    if labels.kind == "rating":
        return list(examples)
    named = numbered_labels([example.label for example in examples], labels.names)
    return [
        replace(example, label=label)
        for example, label in zip(examples, named, strict=True)
        if {*names_in(label)} <= {*labels.names}
    ]


def _require_same(run: RunFolder, otherwise: str) -> None:
    """See that the run's data are those of then: else other examples would be held out."""
    # Of a run with several seeds, each seed's own has them.
    manifests = [run.manifest, *sorted(run.path.glob("seed-*/manifest.json"))]
    manifest = next((path for path in manifests if path.is_file()), None)
    known = {} if manifest is None else json.loads(manifest.read_text(encoding="utf-8"))["data"]
    for name, digest in known.items():
        path = Path(name)
        is_there = path.is_file()
        if is_there and file_sha256(path) == digest:
            continue
        what = "has changed since the run" if is_there else "is missing, which the run read"
        raise DataError(
            f"{name} {what}.",
            f"An export is compared with its model on the validation examples of {run.path}: its "
            "data as they were, relative paths counted from here.",
            otherwise,
        )
