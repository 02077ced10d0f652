"""What `attuner check` finds out of labelled data before any training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from attuner.data.features import TokenColumn
from attuner.data.inspection import Lengths, lengths_of
from attuner.data.label_choice import count_labels
from attuner.data.labelled import LabelledExample, text_columns
from attuner.data.labelled_preparation import labels_in
from attuner.data.labels import Label, names_in
from attuner.data.parts import PARTS
from attuner.training.choosing import Numbered, choose, numbered
from attuner.training.cost import Cost, measure_cost
from attuner.training.jobs.labels import LabelJob

_CHUNK = 5_000
_FIRST = 3


@dataclass(frozen=True, slots=True)
class ShownLabel:
    """One example, in full.

    Attributes:
        row: Its number, counted from 1 through training, validation and test.
        part: "train", "validation" or "test".
        address: `file:line` or the like.
        text: The text.
        text_pair: The second text, or None.
        label: Its label, labels or rating.
        tokens: What the model sees, not cut.
        limit: Tokens that fit; the model sees no more.
        output: What the untuned model says, where asked for.
    """

    row: int
    part: str
    address: str
    text: str
    text_pair: str | None
    label: Label
    tokens: tuple[str, ...]
    limit: int
    output: str | None = None


@dataclass(frozen=True)
class CheckedLabels:
    """The answer of `check_labels`.

    Attributes:
        counts: What was read, skipped by reason (duplicates among them) and divided.
        notes: Leaks, texts with different labels, and the like.
        labels: Examples of each label, by part; none of ratings.
        lengths: Token lengths by part.
        cost: Steps, time and memory; None where single examples were asked for.
        shown: The examples asked for, else the first few of training.
        num_found: How many examples hold the text that was looked for; None where none was.
        is_refused: Always false: a classifier that would be refused is refused at once.
    """

    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    labels: dict[str, dict[str, int]]
    lengths: tuple[Lengths, ...]
    cost: Cost | None
    shown: tuple[ShownLabel, ...]
    num_found: int | None = None
    is_refused: bool = False


def check_labels(
    job: LabelJob, *, row: int | None, find: str | None, model_output: bool
) -> CheckedLabels:
    """Read and prepare a recipe's data, look at them, measure a few updates.

    Args:
        job: The task of the recipe.
        row: Show this example, counted from 1 through training, validation and test.
        find: Show examples whose texts or label hold this text, in any case.
        model_output: With the examples shown, what the untuned model says.

    Raises:
        UserError: The data or the model cannot be used, or there is no such example.
    """
    job.find_model()
    job.read()
    only_shown = row is not None or find is not None
    chosen, num_found = list(islice(numbered(job.prepared), _FIRST)), None
    if only_shown:
        chosen, num_found = choose(job.prepared, row, find, _holds)
    outputs = _outputs(job, chosen) if model_output else [None] * len(chosen)
    shown = tuple(_shown(job, entry, output) for entry, output in zip(chosen, outputs, strict=True))
    prepared = job.prepared
    return CheckedLabels(
        counts=prepared.counts,
        notes=prepared.notes,
        labels={
            part: count_labels(labels_in(getattr(prepared, part)), job.labels.names)
            for part in (PARTS if job.labels.names else ())
        },
        lengths=() if only_shown else tuple(_lengths(job)),
        cost=None if only_shown else measure_cost(job.recipe, job, job.load_model(), job.emit),
        shown=shown,
        num_found=num_found,
    )


def _holds(example: LabelledExample, wanted: str) -> bool:
    texts = (example.text, example.text_pair or "", *names_in(example.label))
    return any(wanted in text.casefold() for text in texts)


def _lengths(job: LabelJob) -> Iterator[Lengths]:
    """Lengths of the texts, or pairs of texts, before anything is cut."""
    for part in PARTS:
        examples = getattr(job.prepared, part)
        if examples:
            chunks = (examples[at : at + _CHUNK] for at in range(0, len(examples), _CHUNK))
            lengths = np.concatenate([_encoded(job, chunk).lengths for chunk in chunks])
            yield lengths_of(part, "text", lengths, job.max_tokens)


def _encoded(job: LabelJob, examples: Sequence[LabelledExample]) -> TokenColumn:
    return job.tokens.encode(*text_columns(examples), max_tokens=2**31).tokens


def _shown(job: LabelJob, entry: Numbered, output: str | None) -> ShownLabel:
    row, part, example = entry
    (ids,) = _encoded(job, [example]).to_lists()
    tokens = job.tokens.tokenizer.convert_ids_to_tokens(ids)
    return ShownLabel(
        row, part, str(example.address), example.text, example.text_pair, example.label,
        tuple(map(str, tokens)), job.max_tokens, output,
    )  # fmt: skip


def _outputs(job: LabelJob, chosen: list[Numbered]) -> list[str | None]:
    """What the untuned model says of the examples; a new head says nothing of meaning."""
    if not chosen:
        return []
    from attuner.inference.classifier import Classifier, TransformersLabels

    examples = [example for _, _, example in chosen]
    engine = TransformersLabels(job.load_model(), job.labels.kind, pads_left=job.tokens.pads_left)
    classifier = Classifier(engine, job.tokens, job.labels, max_tokens=job.max_tokens)
    return [said.in_words for said in classifier.classify(*text_columns(examples))]
