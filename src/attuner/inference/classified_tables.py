"""Classify the rows of a table, which keep all their columns and get new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from attuner.data.asked import WHOLE_TEXT, Asked, Faults, recipe_options, text_fault
from attuner.data.reading import OPENERS, suffix_of
from attuner.data.records import Record
from attuner.errors import DataError, nearest
from attuner.inference.classifier import Classified, Classifier, Progress

# Rows that are read and classified at a time.
_ROWS_AT_ONCE = 4096
# The new columns; a probability is that of the label given, or of each of several.
LABEL, PROBABILITY = "predicted", "probability"


@dataclass(frozen=True, slots=True)
class ClassifiedRows:
    """A table with what a classifier says of its rows.

    Attributes:
        columns: The table's columns, then the new ones.
        new: The new ones.
        rows: Its rows, in their order; those without a text have no label.
        counts: Rows without a label or left out, by reason; complete when the rows are read.
    """

    columns: list[str]
    new: list[str]
    rows: Iterator[dict[str, Any]]
    counts: Counter[str] = field(default_factory=Counter)


@contextmanager
def classify_table(
    path: Path,
    classifier: Classifier,
    *,
    text: str = "text",
    text_pair: str | None = None,
    with_logits: bool = False,
    separator: str = ",",
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Iterator[ClassifiedRows]:
    """Open a table and classify its rows, which are to be read inside the `with` block.

    Args:
        path: CSV, TSV, JSON, JSON Lines or Parquet.
        classifier: Gives the labels.
        text: Column of the texts.
        text_pair: Column of the second texts, for a model of pairs.
        with_logits: Whether the model's outputs are written, too, as `logit LABEL`.
        separator: What stands between several labels.
        encoding: Of text files that do not declare their own.
        bad_entries: `fail` raises rows that cannot be read, collected, at the end of the block;
            `skip` leaves them out and counts them.
        options: How the options that messages advise are typed; see `recipe_options`.
        progress: Called with rows done and 0: nobody knows how many there are.

    Raises:
        DataError: It is no table, or lacks the columns.
    """
    suffix = suffix_of(path)
    if suffix not in OPENERS:
        raise DataError(f'{path}: unknown suffix "{suffix}".', nearest(suffix, OPENERS))
    options = recipe_options() if options is None else options
    counts: Counter[str] = Counter()
    faults = Faults(bad_entries, counts, options["bad_entries"].format("skip"))
    asked = Asked("", "", encoding=encoding, faults=faults, options=options)
    with OPENERS[suffix](path, asked) as table:
        names = table.names or []
        wanted = {"text": text} | ({"text_pair": text_pair} if text_pair is not None else {})
        for option, name in wanted.items():
            if name not in names:
                raise DataError(
                    f"{path}: no column `{name}`.",
                    f"Found: {', '.join(names) or 'none'}.",
                    f"Name it: {asked.typed(option, 'COLUMN')}",
                )
        new = [LABEL] if classifier.labels.kind == "rating" else [LABEL, PROBABILITY]
        if with_logits:
            new += [f"logit {name}" for name in classifier.labels.names or ("rating",)]
        columns = [*(name for name in names if name not in new), *new]
        records = _whole(table.rows(names), table.file, faults)
        made = _rows(records, classifier, text, text_pair, new, separator, counts, progress)
        yield ClassifiedRows(columns, new, made, counts)
    faults.raise_collected()


def _whole(records: Iterable[Record], file: str, faults: Faults) -> Iterator[Record]:
    """The records that a tokenizer and a file can take; the others are bad entries."""
    for record in records:
        texts = (value for value in record.values.values() if isinstance(value, str))
        fault = next(filter(None, map(text_fault, texts)), None)
        if fault is None:
            yield record
        else:
            reason, what = fault
            faults.add(reason, f"{record.where(file)}: {what}.", WHOLE_TEXT, "Mend it")


def _rows(
    records: Iterator[Record],
    classifier: Classifier,
    text: str,
    text_pair: str | None,
    new: list[str],
    separator: str,
    counts: Counter[str],
    progress: Progress | None,
) -> Iterator[dict[str, Any]]:
    done = 0
    while chunk := list(islice(records, _ROWS_AT_ONCE)):
        texts = [_texts(record, text, text_pair) for record in chunk]
        usable = [found for found in texts if found is not None]
        said = iter(
            classifier.classify(
                [first for first, _ in usable],
                None if text_pair is None else [second for _, second in usable],
            )
        )
        for record, found in zip(chunk, texts, strict=True):
            if found is None:
                counts["no text"] += 1
                yield {**record.values, **dict.fromkeys(new, "")}
            else:
                values = _values(next(said), separator)
                yield {**record.values, **dict(zip(new, values, strict=False))}
        done += len(chunk)
        if progress is not None:
            progress(done, 0)


def _texts(record: Record, text: str, text_pair: str | None) -> tuple[str, str] | None:
    """The text or texts of a row; None where one is missing or empty."""
    values = (record.values.get(name) for name in (text, text_pair) if name is not None)
    found = [value for value in values if isinstance(value, str) and value.strip()]
    return (found[0], found[-1]) if len(found) == 1 + (text_pair is not None) else None


def _values(said: Classified, separator: str) -> list[Any]:
    """What the new columns hold, in their order."""
    if isinstance(said.label, float):
        return [said.label, *said.logits]
    if isinstance(said.label, str):
        return [said.label, said.probabilities[said.label], *said.logits]
    shares = [f"{said.probabilities[name]:.4f}" for name in said.label]
    return [separator.join(said.label), separator.join(shares), *said.logits]
