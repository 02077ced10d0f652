"""Read CSV and TSV, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from attuner.data.asked import Asked
from attuner.data.records import Record, Table
from attuner.data.textfiles import Line, decoded_lines, open_bytes
from attuner.errors import DataError


def open_csv(path: Path, asked: Asked) -> AbstractContextManager[Table]:
    """Open CSV with a header (RFC 4180); `;` or tab separates where the header has more of it.

    Raises:
        DataError: The file cannot be read.
    """
    return _open_delimited(path, asked, None)


def open_tsv(path: Path, asked: Asked) -> AbstractContextManager[Table]:
    """Open TSV with a header, as registered with IANA: quotes have no meaning.

    Raises:
        DataError: The file cannot be read.
    """
    return _open_delimited(path, asked, "\t")


@contextmanager
def _open_delimited(path: Path, asked: Asked, delimiter: str | None) -> Iterator[Table]:
    file = str(path)
    broken: list[Line] = []
    with open_bytes(path) as stream:
        lines = _csv_lines(decoded_lines(stream, file, asked.encoding), broken)
        header = next(lines, "")
        if broken:
            raise DataError(
                f"{file}:1: {broken[0].fault}.",
                f"The file is read as {asked.encoding}.",
                asked.set_encoding,
            )
        style: dict[str, Any] = {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}
        if delimiter is None:
            style = {"delimiter": max(",;\t", key=header.count), "quoting": csv.QUOTE_MINIMAL}
        names = _header_names(file, header, style)
        reader = csv.reader(lines, strict=True, **style)
        yield Table(file, names, lambda _: _rows(reader, file, names, asked, broken))


def _header_names(file: str, header: str, style: dict[str, Any]) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([header], **style), [])]
    except csv.Error as error:
        raise DataError(
            f"{file}:1: {error}.", "The first line of the file names the columns."
        ) from error


def _rows(
    reader: Any, file: str, names: list[str], asked: Asked, broken: list[Line]
) -> Iterator[Record]:
    for number, line, values in _records(reader, file, asked, broken):
        if len(values) > len(names):
            asked.faults.add(
                "wrong number of columns",
                f"{file}:{line}: {len(values)} values for {len(names)} columns.",
                "Every row has as many values as the header has names.",
                "Mend it",
            )
            continue
        yield Record(dict(zip(names, values, strict=False)), number, line)


def _csv_lines(lines: Iterable[Line], broken: list[Line]) -> Iterator[str]:
    """Lines as the csv module wants them; those that cannot be decoded are noted."""
    for line in lines:
        if line.fault:
            broken.append(line)
        yield line.text + "\n"


def _records(
    reader: Any, file: str, asked: Asked, broken: list[Line]
) -> Iterator[tuple[int, int, list[str]]]:
    """(number, first line, values) of each good record; a record can span several lines."""
    number = 0
    while True:
        line = reader.line_num + 2  # the header was line 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            number += 1
            broken.clear()
            asked.faults.add(
                "invalid CSV",
                f"{file}:{line}: {error}.",
                "A value with quotes, separators or line breaks is quoted, its quotes doubled.",
                "Mend it",
            )
            continue
        if values is None:
            return
        if values:
            number += 1
        if broken:
            asked.note_bad_encoding(f"{file}:{broken[0].number}", broken[0].fault)
            broken.clear()
        elif values:
            yield number, line, values
