"""Read tables of rows with named values: JSON, JSON Lines, Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attuner.data.asked import Asked
from attuner.data.columns import Columns, Row, find_columns, find_columns_of_row, row_unit
from attuner.data.textfiles import Line, decoded_lines, open_bytes, read_bytes, text_encoding
from attuner.data.units import Unit
from attuner.errors import DataError, first_line

_BATCH_ROWS = 4096
_HEAD_BYTES = 4096


def read_jsonl(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read JSON Lines: one object a line; empty lines are allowed.

    Raises:
        DataError: The columns are not there, or the file cannot be read.
    """
    columns: Columns | None = None
    file, number = str(path), 0
    with open_bytes(path) as stream:
        for line in decoded_lines(stream, file, asked.encoding):
            if not line.text.strip() and not line.fault:
                continue
            number += 1
            row = _json_row(line, file, asked)
            if row is None:
                continue
            if columns is None:
                columns = find_columns_of_row(file, row, asked)
            unit = row_unit(row, columns, asked, file, number, line.number)
            if unit is not None:
                yield unit


def read_json(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read a JSON file: an array of objects, or (as the Hub often has it) JSON Lines.

    Raises:
        DataError: It is neither, the columns are not there, or the file cannot be read.
    """
    file = str(path)
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES).decode(text_encoding(asked.encoding), "ignore")
    if not head.lstrip("\ufeff \t\r\n").startswith("["):
        yield from read_jsonl(path, asked)
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
    yield from _units(_objects(rows, file, asked), asked, file)


def read_parquet(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read Parquet, batch by batch, and only the columns needed.

    Raises:
        DataError: The columns are not there, or the file is not Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    file = str(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            columns = find_columns(file, schema.names, _languages(schema), asked)
            needed = {*columns.needed, "catalog"} & set(schema.names)
            number = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(needed)):
                for row in batch.to_pylist():
                    number += 1
                    unit = row_unit(row, columns, asked, file, number)
                    if unit is not None:
                        yield unit
    # ValueError and OverflowError: texts that are not UTF-8, times that Python cannot express.
    except (pyarrow.ArrowException, ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"{file}: not a readable Parquet file: {first_line(error)}.",
            "The file must be whole Parquet.",
        ) from error


def table_units(rows: Iterable[Row], columns: Columns, asked: Asked, name: str) -> Iterator[Unit]:
    """The units of rows that are already in memory or come from a data set."""
    for number, row in enumerate(rows, start=1):
        unit = row_unit(row, columns, asked, name, number)
        if unit is not None:
            yield unit


def _languages(schema: Any) -> list[str] | None:
    """Fields of the struct column `translation` of an Arrow schema."""
    import pyarrow

    index = schema.get_field_index("translation")
    if index < 0 or not pyarrow.types.is_struct(schema.field(index).type):
        return None
    return [field.name for field in schema.field(index).type]


def _units(rows: Iterable[tuple[int, Row]], asked: Asked, file: str) -> Iterator[Unit]:
    columns: Columns | None = None
    for number, row in rows:
        if columns is None:
            columns = find_columns_of_row(file, row, asked)
        unit = row_unit(row, columns, asked, file, number)
        if unit is not None:
            yield unit


def _objects(rows: list[Any], file: str, asked: Asked) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield number, row
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
