"""Read and divide examples: files, or rows in memory → training, validation and test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from attuner.data import labelled, labelled_preparation, preparation, reading
from attuner.data.label_choice import with_labels
from attuner.data.labelled import LabelColumns, LabelledExample
from attuner.data.labelled_preparation import PreparedLabels
from attuner.data.labels import BadLabelError, Kind, Label, LabelSet, parse_label
from attuner.data.preparation import Prepared
from attuner.data.units import Address, Unit
from attuner.errors import DataError

# How messages of readers spell the arguments below.
_KEYWORDS = {
    "source_column": 'columns={{"source": "{}"}}',
    "target_column": 'columns={{"target": "{}"}}',
    **{
        name: f'{name}="{{}}"'
        for name in (
            "source", "target", "target_path", "config", "revision", "split", "encoding",
            "bad_entries", "text", "text_pair", "label",
        )
    },
}  # fmt: skip
# How a recipe's options, which messages of dividing advise, are called here.
_ARGUMENTS = {
    "data.split.validation": "validation_size",
    "data.split.test": "test_size",
    "data.split.train_size": "train_size",
    "data.split.by": "by",
    "data.duplicates": "duplicates",
    "data.bad_entries": "unknown",
    "data.train": "train",
    "data.validation": "validation",
    "data.test": "test",
    "task.labels": "labels",
    "task.label": "label",
    "task.text": "text",
}
_OPTION = re.compile(rf"\b({'|'.join(map(re.escape, _ARGUMENTS))})\b(=[A-Za-z_]+)?")
# What rows in memory say of where they stand.
_MEMORY = "rows in memory"


def read_pairs(
    path: str | Path, *, source: str = "", target: str = "en", **options: Any
) -> Iterator[Unit]:
    r"""Read all entries of a source as they are asked for, also those that are not translated.

    Args:
        path: A file, folder, glob, `package:NAME` or `hub:ID`.
        source: Language code of the source side; "" where nothing is translated (text to text).
        target: Language code of the target side; where nothing is translated, of the texts.
        **options: Of `data.reading.read_units`: `columns`, `references`, `target_path`, `config`,
            `revision`, `split`, `streaming`, `encoding`, `bad_entries`, `weight`, `skipped`.

    Raises:
        DataError: Something is missing, broken, or not what was asked for.
        MissingExtraError: The format needs translate-toolkit, which is not installed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "menu.csv"
    ...     _ = file.write_text("en,fr\nOpen,Ouvrir\nClose,\n")
    ...     units = list(read_pairs(file, source="en", target="fr"))
    >>> [(unit.source, unit.targets, unit.state) for unit in units]
    [('Open', ('Ouvrir',), 'translated'), ('Close', (), 'untranslated')]
    """
    units = reading.read_units(
        str(path),
        source_language=source,
        target_language=target if source else "",
        options=_KEYWORDS,
        **options,
    )
    return units if source else (replace(unit, target_language=target) for unit in units)


def pairs_from(
    rows: Iterable[tuple[str, str | Sequence[str]]], *, source: str = "", target: str = "en"
) -> Iterator[Unit]:
    """Rows in memory as `read_pairs` gives those of files.

    Args:
        rows: Source text and target text, or source text and several references.
        source: Language code of the source side; "" where nothing is translated.
        target: Language code of the target side.

    Raises:
        DataError: A row holds something else than texts.

    >>> [unit.targets for unit in pairs_from([("Open", "Ouvrir"), ("Cut", ["Couper", "Tronquer"])])]
    [('Ouvrir',), ('Couper', 'Tronquer')]
    """
    for number, (text, targets) in enumerate(rows, start=1):
        is_one = isinstance(targets, str) or not isinstance(targets, Iterable)
        references: tuple[Any, ...] = (targets,) if is_one else tuple(targets)
        for given in (text, *references):
            if not isinstance(given, str):
                raise _bad_row(
                    number,
                    f"{given!r:.60} is no text",
                    "Each row is a source text and its target text, or several references.",
                )
        yield Unit(_address(number), text, references, "translated", source, target)


def split_pairs(
    train: Iterable[Unit],
    validation: Iterable[Unit] | None = None,
    test: Iterable[Unit] | None = None,
    **options: Any,
) -> Prepared:
    """Filter entries and divide them into parts; what is left out is counted by reason.

    Args:
        train: Entries to learn from.
        validation: Entries to make choices on; split off `train` where None.
        test: Entries for the final scores; split off `train` where None.
        **options: Of `data.preparation.prepare`: `by` ("source" where not given: no evaluated text
            is in training), `validation_size` and `test_size` (0.1 each), `train_size`, `seed`,
            `duplicates`, `train_subset` and `evaluation_subset` (number and seed), `whole_texts`.

    Returns:
        `train`, `validation` and `test`, sequences of examples; `counts`; `notes` for the user.

    Raises:
        DataError: Nothing is left of a part, or there is too little to divide.

    >>> rows = [(f"Open file {n}", f"Ouvrir le fichier {n}") for n in range(10)]
    >>> data = split_pairs(pairs_from([*rows, ("Open it", "")], source="en", target="fr"))
    >>> data.counts["split"], data.counts["skipped"]
    ({'train': 8, 'validation': 1, 'test': 1}, {'empty target': 1})
    """
    with _in_arguments():
        prepared = preparation.prepare(train, validation, test, **options)
    return replace(prepared, notes=tuple(map(_respelt, prepared.notes)))


def read_labelled(
    path: str | Path,
    *,
    text: str = "text",
    text_pair: str | None = None,
    label: str = "label",
    kind: Kind = "single",
    separator: str = ",",
    **options: Any,
) -> Iterator[LabelledExample]:
    """Read the labelled texts of tables as they are asked for.

    Args:
        path: A table, a folder or glob of tables, `hub:ID` or `embedded:reviews`.
        text: Column of the texts.
        text_pair: For pairs of texts: column of the second ones.
        label: Column of the labels.
        kind: `single` (one of several labels), `multi` (any number of them) or `rating` (a number).
        separator: With `multi`: what stands between several labels in one text.
        **options: Of `data.labelled.read_labelled`: `config`, `revision`, `split`, `streaming`,
            `encoding`, `bad_entries`, `weight`, `skipped`, `classes`.

    Raises:
        DataError: Something is missing, broken, or not what was asked for.

    >>> example = next(read_labelled("embedded:reviews", label="stars"))
    >>> example.text[:8], example.label, example.address.line
    ('The Rock', '4', 1)
    """
    columns = LabelColumns(text, text_pair, label, kind, separator)
    return labelled.read_labelled(str(path), columns, options=_KEYWORDS, **options)


def labelled_from(
    rows: Iterable[tuple[Any, ...]], *, kind: Kind = "single"
) -> Iterator[LabelledExample]:
    """Rows in memory as `read_labelled` gives those of files.

    Args:
        rows: Text and label, or text, second text and label.
        kind: As for `read_labelled`: a label is a name or a whole number, a list of such, or any
            number.

    Raises:
        DataError: A row has no label, nothing that can be one, or not one text or two.

    >>> rows = [("a good book", 1), ("a bad film", 0)]
    >>> [example.label for example in labelled_from(rows)]
    ['1', '0']
    """
    for number, (*texts, value) in enumerate(rows, start=1):
        try:
            label = _label_of(texts, value, kind)
        except BadLabelError as error:
            expected = f'Each row is a text, or two, and its label (kind="{kind}").'
            raise _bad_row(number, str(error), expected) from error
        second = texts[1] if len(texts) == 2 else None
        yield LabelledExample(texts[0], second, label, _address(number))


def split_labelled(
    train: Iterable[LabelledExample],
    validation: Iterable[LabelledExample] | None = None,
    test: Iterable[LabelledExample] | None = None,
    *,
    kind: Kind = "single",
    labels: Sequence[str] = (),
    known: Sequence[str] = (),
    classes: Mapping[str, None] | None = None,
    unknown: Literal["fail", "skip"] = "fail",
    **options: Any,
) -> tuple[PreparedLabels, LabelSet]:
    """Divide labelled texts into parts, each with its share of every label.

    Args:
        train: Texts to learn from.
        validation: Texts to make choices on; split off `train` where None.
        test: Texts for the final scores; split off `train` where None.
        kind: As for `read_labelled`.
        labels: All labels, in the order of the model's outputs; of two, the second is the positive
            one. Numbers 0, 1, ... in the data count them. Where not given: numbers by size, names
            by alphabet.
        known: Those of the checkpoint, whose order is kept where they are the same.
        classes: What `read_labelled(classes=...)` has noted, whose order is kept likewise.
        unknown: Whether held-out texts with other labels are refused, or left out and counted.
        **options: Of `data.labelled_preparation.prepare_labelled`: `by`, `validation_size`,
            `test_size`, `train_size`, `seed`, `duplicates`, `train_subset`, `evaluation_subset`,
            `skipped`.

    Returns:
        The parts (see `split_pairs`), and the labels.

    Raises:
        DataError: Nothing is left of a part, there is too little to divide, or there is only one
            label.

    >>> rows = [(f"{mood} book {n}", mood) for mood in ("good", "bad") for n in range(10)]
    >>> data, labels = split_labelled(labelled_from(rows), labels=["bad", "good"])
    >>> labels.names, data.counts["split"]
    (('bad', 'good'), {'train': 16, 'validation': 2, 'test': 2})
    """
    with _in_arguments():
        prepared = labelled_preparation.prepare_labelled(train, validation, test, **options)
        prepared = replace(
            prepared,
            classes=tuple(classes or ()),  # reading has noted them by now
            notes=tuple(map(_respelt, prepared.notes)),
        )
        return with_labels(prepared, kind, given=labels, known=known, unknown=unknown)


@contextmanager
def _in_arguments() -> Iterator[None]:
    """Let errors advise arguments, not a recipe's options."""
    try:
        yield
    except DataError as error:
        parts = (error.happened, error.expected, error.remedy)
        raise DataError(*map(_respelt, parts)) from error


def _respelt(text: str) -> str:
    """A message with a recipe's options as arguments.

    >>> _respelt("Set data.split.by=random, or a smaller data.split.test=0.05.")
    'Set by="random", or a smaller test_size=0.05.'
    """
    return _OPTION.sub(
        lambda found: _ARGUMENTS[found[1]] + (f'="{found[2][1:]}"' if found[2] else ""), text
    )


def _label_of(texts: Sequence[object], value: object, kind: Kind) -> Label:
    """The label of a row in memory.

    Raises:
        BadLabelError: There is none, or the row has not one text or two.
    """
    for text in texts:
        if not isinstance(text, str):
            raise BadLabelError(f"{text!r:.60} is no text")
    if len(texts) not in (1, 2):
        raise BadLabelError(f"there are {len(texts)} texts")
    label = parse_label(value, kind)
    if label is None:
        raise BadLabelError("no label")
    return label


def _bad_row(number: int, fault: str, expected: str) -> DataError:
    return DataError(
        f"{_MEMORY}: row {number}: {fault}.", expected, "Leave out the rows that have none."
    )


def _address(number: int) -> Address:
    return Address(_MEMORY, str(number))
