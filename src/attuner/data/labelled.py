"""Labelled examples: one or two texts in columns of a table, and a label in another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from attuner.data.asked import WHOLE_TEXT, Asked, Faults, recipe_options, text_fault
from attuner.data.columns import shown
from attuner.data.hub import open_hub
from attuner.data.labels import BadLabelError, Kind, Label, parse_label
from attuner.data.reading import OPENERS, chosen_files, suffix_of
from attuner.data.records import Record, Table
from attuner.data.units import Address
from attuner.errors import DataError, nearest_name


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """What a classifier learns from or is scored on.

    Attributes:
        text: The text.
        text_pair: The second text, where examples are pairs.
        label: Its label, labels or rating.
        address: Where it came from.
        weight: How often it is seen in an epoch.
    """

    text: str
    text_pair: str | None
    label: Label
    address: Address
    weight: float = 1.0


def text_columns(examples: Sequence[LabelledExample]) -> tuple[list[str], list[str] | None]:
    """The texts and, of pairs, the second ones."""
    is_pair = bool(examples) and examples[0].text_pair is not None
    seconds = [example.text_pair or "" for example in examples] if is_pair else None
    return [example.text for example in examples], seconds


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Where texts and labels stand, and what the labels are.

    Attributes:
        text: Column of the text.
        text_pair: Column of the second text, or None.
        label: Column of the label.
        kind: `single`, `multi` or `rating`.
        separator: What stands between several labels in one text.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    kind: Kind = "single"
    separator: str = ","

    @property
    def by_option(self) -> dict[str, str]:
        """The columns, by the option that names each."""
        found = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        return {option: name for option, name in found.items() if name is not None}


def read_labelled(
    path: str,
    columns: LabelColumns,
    *,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    streaming: bool = False,
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    weight: float = 1.0,
    skipped: Counter[str] | None = None,
    classes: dict[str, None] | None = None,
    options: Mapping[str, str] | None = None,
) -> Iterator[LabelledExample]:
    """Read the labelled examples of a source.

    Rows without a text or without a label are counted in `skipped`.

    Args:
        path: A table, a folder or glob of tables, or `hub:ID`.
        columns: Where texts and labels stand.
        config: Configuration of a Hub data set; of a folder, its sub-folder.
        revision: Branch, tag or commit of a Hub data set.
        split: Split of a Hub data set, also where a folder holds its numbered files.
        streaming: Whether a Hub data set is read as it comes, and no copy of it kept.
        encoding: Encoding of text files that do not declare their own.
        bad_entries: `fail` raises them, collected, at the end; `skip` counts them.
        weight: Weight of every example.
        skipped: Where rows that are left out are counted, by reason.
        classes: Where the names of labels are noted that a data set declares, in its order.
        options: How the options that messages advise are typed; see `recipe_options`.

    Raises:
        DataError: Something is missing, broken, or not what was asked for.
    """
    options = recipe_options() if options is None else options
    skip = options["bad_entries"].format("skip")
    faults = Faults(bad_entries, Counter() if skipped is None else skipped, skip)
    asked = Asked("", "", encoding=encoding, weight=weight, faults=faults, options=options)
    if path.startswith("hub:"):
        name = path.removeprefix("hub:")
        table = open_hub(
            name, asked, config=config, revision=revision, split=split, streaming=streaming
        )
        if classes is not None:
            classes |= dict.fromkeys(table.classes.get(columns.label, ()))
        yield from _examples(table, columns, asked)
    else:
        for file in chosen_files(path, asked, config=config, split=split):
            suffix = suffix_of(file)
            if suffix not in OPENERS:
                raise DataError(
                    f"{file}: not a table.",
                    f"Labelled texts are read from tables: {', '.join(OPENERS)}.",
                    "Name such a file, or a folder that holds no others."
                    if os.path.isdir(path)
                    else "Save it as one of them.",
                )
            with OPENERS[suffix](file, asked) as table:
                yield from _examples(table, columns, asked)
    faults.raise_collected()


def _examples(table: Table, columns: LabelColumns, asked: Asked) -> Iterator[LabelledExample]:
    if table.names is None:
        return
    _require_columns(table, columns, asked)
    classes = table.classes.get(columns.label, [])
    for record in table.rows([*columns.by_option.values(), "catalog"]):
        example = _example(record, columns, classes, asked, table.file)
        if example is not None:
            yield example


def _example(
    record: Record, columns: LabelColumns, classes: list[str], asked: Asked, file: str
) -> LabelledExample | None:
    """The example of a row, or None where it is left out or a bad entry."""
    where = record.where(file)

    def bad(reason: str, what: str, expected: str, mend: str = "Complete it") -> None:
        asked.faults.add(reason, f"{where}: {what}.", expected, mend)

    for name in columns.by_option.values():
        if name not in record.values:
            bad("missing column value", f"no value for {name}", "Every row needs all columns.")
            return None
    texts: list[str | None] = []
    for column in (columns.text, columns.text_pair):
        text = record.values[column] if column is not None else None
        if column is None:
            texts.append(None)
            continue
        if text is None or (isinstance(text, str) and not text.strip()):
            asked.faults.leave_out("empty text")
            return None
        if not isinstance(text, str):
            bad("not a text", f"{shown(text)} where a text should be", "Texts are strings.")
            return None
        if fault := text_fault(text):
            bad(fault[0], fault[1], WHOLE_TEXT, "Mend it")
            return None
        texts.append(text)
    try:
        label = parse_label(
            record.values[columns.label],
            columns.kind,
            separator=columns.separator,
            classes=classes,
        )
    except BadLabelError as error:
        bad("not a label", str(error), _EXPECTED[columns.kind], "Mend it")
        return None
    if label is None:
        asked.faults.leave_out("no label")
        return None
    catalog = record.values.get("catalog")
    address = Address(
        file,
        str(record.number),
        record.line,
        catalog=catalog if isinstance(catalog, str) and catalog else file,
    )
    first, second = texts
    assert first is not None
    return LabelledExample(first, second, label, address, asked.weight)


_EXPECTED: dict[Kind, str] = {
    "single": "A label is a text or a number.",
    "multi": "Labels are a list of texts or numbers, or one text with separators.",
    "rating": "A rating is a finite number.",
}


def _require_columns(table: Table, columns: LabelColumns, asked: Asked) -> None:
    """See that a table has the columns asked for.

    Raises:
        DataError: It has not; lists those it has.
    """
    names = table.names or []
    missing = {o: name for o, name in columns.by_option.items() if name not in names}
    if not missing:
        return
    typed = " ".join(
        asked.typed(option, nearest_name(name, names) or "COLUMN")
        for option, name in missing.items()
    )
    raise DataError(
        f"{table.file}: no column {' and no column '.join(f'`{n}`' for n in missing.values())}.",
        f"Found: {', '.join(names) or 'none'}.",
        f"Name {'it' if len(missing) == 1 else 'them'}: {typed}",
    )
