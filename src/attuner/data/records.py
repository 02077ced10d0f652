"""Tables as any task reads them: named columns, and records that know where they stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from attuner.data.asked import Asked

Row = dict[str, Any]


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        values: Its values, by column; a short row lacks its last columns.
        number: Its number, counted from 1.
        line: The line that it begins in, from 1, where the format has lines.
    """

    values: Row
    number: int
    line: int | None = None

    def where(self, file: str) -> str:
        """`file:line`, or `file: row NUMBER` where the format has no lines."""
        return f"{file}:{self.line}" if self.line else f"{file}: row {self.number}"


@dataclass(frozen=True, slots=True)
class Table:
    """An opened table.

    Attributes:
        file: The file or data set, as an error shows it.
        names: Its columns; those of the first row where the format declares none, and None where
            there is no row either.
        rows: The records, of which only these columns are needed.
        languages: Keys of its column `translation`, where it has such a one.
        classes: Names of the values 0, 1, ... of a column, where the data set declares them.
    """

    file: str
    names: list[str] | None
    rows: Callable[[Collection[str]], Iterator[Record]]
    languages: list[str] | None = None
    classes: Mapping[str, list[str]] = field(default_factory=dict)


OpenTable = Callable[[Path, Asked], AbstractContextManager[Table]]
