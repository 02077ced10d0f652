"""What `attuner classify` writes: labels of lines, and tables with new columns."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from attuner.errors import UsageError
from attuner.models.classifier_usage import read_label_usage
from attuner.models.loading import resolve_model
from attuner.text_streams import write_json

if TYPE_CHECKING:
    from attuner.inference.classifier import Classified, Classifier

# How messages spell the options of `attuner classify`.
_FLAGS = {
    "text": "--text {}", "text_pair": "--text-pair {}", "encoding": "--encoding {}",
    "bad_entries": "--skip-bad-entries",
}  # fmt: skip
_MOST_LABELS = 5


def is_table(argument: str | None) -> bool:
    """Whether an argument is a file with named columns.

    >>> is_table("-"), is_table(None), is_table("no such.csv")
    (False, False, False)
    """
    from attuner.data.reading import OPENERS, suffix_of

    if argument is None or not os.path.isfile(argument):  # unlike Path.is_file, never raises
        return False
    return suffix_of(Path(argument)) in OPENERS


def write_table(
    path: Path,
    classifier: Classifier,
    model: str,
    file: TextIO,
    *,
    text: str | None,
    text_pair: str | None,
    logits: bool,
    as_json: bool,
    encoding: str,
    bad_entries: Literal["fail", "skip"],
) -> Counter[str]:
    """Write a table with labels: as CSV, or as JSON Lines.

    Args:
        path: The table.
        classifier: Gives the labels.
        model: Its name: its folder knows the columns that it was tuned on.
        file: Where to.
        text: Column of the texts, where it is another.
        text_pair: Column of the second texts, likewise.
        logits: Whether the model's outputs are written, too.
        as_json: JSON Lines instead of CSV.
        encoding: Of text files that do not declare their own.
        bad_entries: Whether rows that cannot be read are refused, or left out and counted.

    Returns:
        Rows without a label or left out, by reason.

    Raises:
        DataError: It lacks the columns, or rows cannot be read.
    """
    from attuner.inference.classified_tables import classify_table

    usage = read_label_usage(resolve_model(model))
    with classify_table(
        path,
        classifier,
        text=text or usage.text,
        text_pair=text_pair or usage.text_pair or None,
        with_logits=logits,
        separator=usage.separator,
        encoding=encoding,
        bad_entries=bad_entries,
        options=_FLAGS,
    ) as table:
        if as_json:
            for row in table.rows:
                write_json(row, file)
        else:
            writer = csv.DictWriter(file, table.columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {name: _cell(value, rounded=name in table.new) for name, value in row.items()}
                for row in table.rows
            )
        return table.counts


def write_lines(
    batches: Iterable[list[str]],
    classifier: Classifier,
    file: TextIO,
    *,
    is_pair: bool,
    logits: bool,
    as_json: bool,
) -> None:
    """Write what a classifier says of each line.

    Args:
        batches: Lines; those of pairs hold two texts with a tab between them.
        classifier: Gives the labels.
        file: Where to.
        is_pair: Whether the model is one of pairs.
        logits: Whether the model's outputs are written, too.
        as_json: An object a line, with all probabilities.

    Raises:
        UsageError: A line of a model of pairs has no tab.
    """
    for batch in batches:
        texts, pairs = _split(batch) if is_pair else (batch, None)
        for row, said in enumerate(classifier.classify(texts, pairs)):
            if as_json:
                pair = {} if pairs is None else {"text_pair": pairs[row]}
                write_json({"text": texts[row], **pair, **_values(said, logits)}, file)
            else:
                file.write(f"{_line(said, logits)}\n")
        file.flush()


def _split(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    texts, pairs = [], []
    for line in lines:
        first, tab, second = line.partition("\t")
        if not tab:
            raise UsageError(
                f"A line has no tab: {line[:60]}",
                "The model compares two texts, which stand on one line with a tab between them.",
                "Put one in, or give a table: attuner classify MODEL pairs.csv",
            )
        texts.append(first)
        pairs.append(second)
    return texts, pairs


def _values(said: Classified, logits: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"label": said.label}
    if said.probabilities:
        found["probabilities"] = said.probabilities
    return {**found, **({"logits": said.logits} if logits else {})}


def _line(said: Classified, logits: bool) -> str:
    """The labels with their probabilities, likeliest first; of many, the first few."""
    outputs = "  logits " + " ".join(f"{value:.4f}" for value in said.logits) if logits else ""
    if isinstance(said.label, float):
        return f"{said.label:.4f}{outputs}"
    names = sorted(said.probabilities, key=lambda name: -said.probabilities[name])
    given = said.label if isinstance(said.label, str) else ", ".join(said.label) or "none"
    rest = ", ".join(f"{name} {said.probabilities[name]:.4f}" for name in names[:_MOST_LABELS])
    return f"{given}\t{rest}{outputs}"


def _cell(value: Any, *, rounded: bool) -> Any:
    """A value as CSV holds it: lists and objects as JSON; the model's numbers by six digits."""
    if rounded and isinstance(value, float):
        return f"{value:.6g}"
    is_nested = isinstance(value, list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_nested else value
