"""Read CSV and TSV, in constant memory."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
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


class _Lines(Iterator[str]):
    """Lines as the csv module wants them; a record that it cannot read gives them back.

    Args:
        lines: The decoded lines after the header.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self.taken: list[Line] = []

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line.text + "\n"

    def give_back(self) -> None:
        """All but the first of the lines taken are to be read again."""
        self._again.extendleft(reversed(self.taken[1:]))


@contextmanager
def _open_delimited(path: Path, asked: Asked, delimiter: str | None) -> Iterator[Table]:
    file = str(path)
    with open_bytes(path) as stream:
        lines = decoded_lines(stream, file, asked.encoding)
        header = next(lines, Line(1, "", ""))
        if header.fault:
            raise DataError(
                f"{file}:1: {header.fault}.",
                f"The file is read as {asked.encoding}.",
                asked.set_encoding,
            )
        style: dict[str, Any] = {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}
        if delimiter is None:
            separator = max(",;\t", key=header.text.count)
            style = {"delimiter": separator, "quoting": csv.QUOTE_MINIMAL}
        names = _header_names(file, header.text, style)
        yield Table(file, names, lambda _: _rows(_Lines(lines), style, file, names, asked))


def _header_names(file: str, header: str, style: dict[str, Any]) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([header], **style), [])]
    except csv.Error as error:
        raise DataError(
            f"{file}:1: {error}.", "The first line of the file names the columns."
        ) from error


def _rows(
    lines: _Lines, style: dict[str, Any], file: str, names: list[str], asked: Asked
) -> Iterator[Record]:
    for number, line, values in _records(lines, style, file, asked):
        if len(values) > len(names):
            asked.faults.add(
                "wrong number of columns",
                f"{file}:{line}: {len(values)} values for {len(names)} columns.",
                "Every row has as many values as the header has names.",
                "Mend it",
            )
            continue
        yield Record(dict(zip(names, values, strict=False)), number, line)


def _records(
    lines: _Lines, style: dict[str, Any], file: str, asked: Asked
) -> Iterator[tuple[int, int, list[str]]]:
    """(number, first line, values) of each good record; a record can span several lines."""
    reader = csv.reader(lines, strict=True, **style)
    number = 0
    while True:
        lines.taken.clear()
        try:
            values = next(reader, None)
        except csv.Error as error:
            number += 1
            asked.faults.add(
                "invalid CSV",
                f"{file}:{lines.taken[0].number}: {error}.",
                "A value with quotes, separators or line breaks is quoted, its quotes doubled.",
                "Mend it",
            )
            # A quote that is not closed takes all that comes after it: only its line is lost.
            lines.give_back()
            continue
        if values is None:
            return
        if values:
            number += 1
        if broken := next((line for line in lines.taken if line.fault), None):
            asked.note_bad_encoding(f"{file}:{broken.number}", broken.fault)
        elif values:
            yield number, lines.taken[0].number, values
