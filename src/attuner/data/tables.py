"""Read tables of rows with named values: JSON, JSON Lines, Parquet."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from attuner.data.asked import Asked
from attuner.data.records import Record, Row, Table
from attuner.data.textfiles import Line, decoded_lines, open_bytes, read_bytes, text_encoding
from attuner.errors import DataError, first_line

_BATCH_ROWS = 4096
_HEAD_BYTES = 4096


@contextmanager
def open_jsonl(path: Path, asked: Asked) -> Iterator[Table]:
    """Open JSON Lines: one object a line; empty lines are allowed.

    Raises:
        DataError: The file cannot be read.
    """
    file = str(path)
    with open_bytes(path) as stream:
        lines = decoded_lines(stream, file, asked.encoding)
        yield _table(file, _json_records(lines, file, asked))


@contextmanager
def open_json(path: Path, asked: Asked) -> Iterator[Table]:
    """Open a JSON file: an array of objects, or (as the Hub often has it) JSON Lines.

    Raises:
        DataError: It is neither, or the file cannot be read.
    """
    file = str(path)
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES).decode(text_encoding(asked.encoding), "ignore")
    if not head.lstrip("\ufeff \t\r\n").startswith("["):
        with open_jsonl(path, asked) as table:
            yield table
        return
    content = read_bytes(path)
    try:
        text = content.decode(text_encoding(asked.encoding)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{file}:{line}: byte 0x{content[error.start]:02x} is not {asked.encoding}.",
            f"The file is read as {asked.encoding}.",
            asked.set_encoding,
        ) from error
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{file}:{line}: not JSON: {getattr(error, 'msg', error)}.",
            "A JSON file holds an array of objects.",
        ) from error
    yield _table(file, _objects(rows, file, asked))


@contextmanager
def open_parquet(path: Path, asked: Asked) -> Iterator[Table]:
    """Open Parquet, which is read batch by batch, and only the columns needed.

    Raises:
        DataError: The file is not Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    file = str(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as opened:
            names: list[str] = opened.schema_arrow.names

            def rows(needed: Collection[str]) -> Iterator[Record]:
                columns = sorted(set(needed) & set(names))
                batches = opened.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
                return numbered(row for batch in batches for row in batch.to_pylist())

            yield Table(file, names, rows, _languages(opened.schema_arrow))
    # ValueError and OverflowError: texts that are not UTF-8, times that Python cannot express.
    except (pyarrow.ArrowException, ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"{file}: not a readable Parquet file: {first_line(error)}.",
            "The file must be whole Parquet.",
        ) from error


def numbered(rows: Iterable[Row]) -> Iterator[Record]:
    """Records of rows that have no lines."""
    return (Record(row, number) for number, row in enumerate(rows, start=1))


def _table(file: str, records: Iterator[Record]) -> Table:
    """A table without a schema: its first row says which columns there are."""
    first = next(records, None)
    if first is None:
        return Table(file, None, lambda _: iter(()))
    translation = first.values.get("translation")
    languages = list(translation) if isinstance(translation, dict) else None
    return Table(file, list(first.values), lambda _: chain([first], records), languages)


def _languages(schema: Any) -> list[str] | None:
    """Fields of the struct column `translation` of an Arrow schema."""
    import pyarrow

    index = schema.get_field_index("translation")
    if index < 0 or not pyarrow.types.is_struct(schema.field(index).type):
        return None
    return [field.name for field in schema.field(index).type]


def _json_records(lines: Iterable[Line], file: str, asked: Asked) -> Iterator[Record]:
    number = 0
    for line in lines:
        if not line.text.strip() and not line.fault:
            continue
        number += 1
        row = _json_row(line, file, asked)
        if row is not None:
            yield Record(row, number, line.number)


def _objects(rows: list[Any], file: str, asked: Asked) -> Iterator[Record]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield Record(row, number)
        else:
            _not_an_object(f"{file}: row {number}", row, asked)


def _json_row(line: Line, file: str, asked: Asked) -> Row | None:
    where = f"{file}:{line.number}"
    if line.fault:
        asked.note_bad_encoding(where, line.fault)
        return None
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        what = f"{getattr(error, 'msg', error)} at column {getattr(error, 'colno', 1)}"
        asked.faults.add(
            "invalid JSON", f"{where}: not JSON: {what}.", "Every line is an object.", "Mend it"
        )
        return None
    if not isinstance(row, dict):
        _not_an_object(where, row, asked)
        return None
    return row


def _not_an_object(where: str, row: object, asked: Asked) -> None:
    what = f"{where}: a row of type {type(row).__name__}, not an object."
    asked.faults.add("not an object", what, "Every row is an object with named values.", "Mend it")
