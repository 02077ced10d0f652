"""Find the source and the target text in the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from attuner.data.asked import Asked
from attuner.data.languages import find_language
from attuner.data.records import OpenTable, Record, Row, Table
from attuner.data.units import Address, Unit
from attuner.errors import DataError


class Columns(NamedTuple):
    """Where the texts stand: a column, or a language within the column `translation`.

    Attributes:
        source: Keys that lead to the source text.
        target: Keys that lead to the target text or texts.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]


def find_columns(
    file: str, names: list[str], languages_of_translation: list[str] | None, asked: Asked
) -> Columns:
    """Choose the columns: as named by the user, else the Hub's, else by language, else by side.

    Args:
        file: The file, as an error shows it.
        names: The columns that the table has.
        languages_of_translation: The keys of its column `translation`, where it has such a one.
        asked: The languages, and the names that the user gave.

    Raises:
        DataError: A side has no column; lists the columns expected and those found.
    """

    def expected(side: str) -> list[str]:
        named = asked.columns.get(side)
        return [named] if named else [asked.language_of(side), side, "translation"]

    def find(side: str) -> tuple[str, ...] | None:
        if side in asked.columns:
            return (asked.columns[side],) if asked.columns[side] in names else None
        language = asked.language_of(side)
        if languages_of_translation is not None:
            key = find_language(languages_of_translation, language)
            if key is None:
                raise DataError(
                    f"{file}: the column `translation` has no text in {language}, "
                    f"it has: {', '.join(sorted(languages_of_translation))}.",
                    f"The {side} language must be one of these.",
                    f"Choose one of them, as {asked.typed(side, 'CODE')}, or give other data.",
                )
            return ("translation", key)
        column = find_language(names, language) or (side if side in names else None)
        return None if column is None else (column,)

    found = {side: find(side) for side in ("source", "target")}
    source, target = found.values()
    if source is None or target is None:
        missing = {side: expected(side) for side, keys in found.items() if keys is None}
        raise _no_columns(file, missing, names, asked)
    if source == target:
        raise DataError(
            f"{file}: source and target are both in the column {'.'.join(source)}.",
            "The two sides stand in different columns.",
            f"Set {_typed_columns(found, asked)}",
        )
    asked.columns_found[file] = f"{'.'.join(source)} → {'.'.join(target)}"
    return Columns(source, target)


def units_reader(open_table: OpenTable) -> Callable[[Path, Asked], Iterator[Unit]]:
    """A reader of units from one that opens tables."""

    def read(path: Path, asked: Asked) -> Iterator[Unit]:
        with open_table(path, asked) as table:
            yield from table_units(table, asked)

    return read


def table_units(table: Table, asked: Asked) -> Iterator[Unit]:
    """The units of a table's rows.

    Raises:
        DataError: The columns are not there.
    """
    if table.names is None:
        return
    columns = find_columns(table.file, table.names, table.languages, asked)
    for record in table.rows({columns.source[0], columns.target[0], "catalog"}):
        unit = _unit(record, columns, asked, table.file)
        if unit is not None:
            yield unit


def _unit(record: Record, columns: Columns, asked: Asked, file: str) -> Unit | None:
    """The unit of a row, or None (and a bad entry) where it has no usable texts.

    A target may be a list: several references. A target that is null or empty is an
    untranslated entry.
    """
    row, where = record.values, record.where(file)

    def bad(reason: str, what: str, expected: str) -> None:
        asked.faults.add(reason, f"{where}: {what}.", expected, "Complete it")

    texts: list[Any] = []
    for keys in columns:
        found, value = _lookup(row, keys)
        if not found or (value is None and keys is columns.source):
            name = ".".join(keys)
            bad("missing column value", f"no value for {name}", "Every row needs both columns.")
            return None
        texts.append(value)
    source, target = texts
    targets = [target] if not isinstance(target, list | tuple) else list(target)
    targets = [text for text in targets if text is not None]
    for text in (source, *targets):
        if not isinstance(text, str):
            what = f"{shown(text)} where a text should be"
            bad("not a text", what, "Source and target are strings.")
            return None
    catalog = row.get("catalog")
    address = Address(
        file,
        str(record.number),
        record.line,
        catalog=catalog if isinstance(catalog, str) and catalog else file,
    )
    return asked.unit(address, source, tuple(text for text in targets if text))


def _lookup(row: Row, keys: tuple[str, ...]) -> tuple[bool, Any]:
    value: Any = row
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def shown(value: object, width: int = 40) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= width else text[:width] + "..."


def _no_columns(
    file: str, missing: dict[str, list[str]], found: list[str], asked: Asked
) -> DataError:
    """The error of a table that lacks one column or both."""
    sides = " and none for the ".join(f"{side} text" for side in missing)
    wanted = ", and ".join(
        f"a column {' or '.join(f'`{name}`' for name in names)}" for names in missing.values()
    )
    return DataError(
        f"{file}: no column for the {sides}.",
        f"Expected {wanted}; found: {', '.join(found) or 'none'}.",
        f"Name {'it' if len(missing) == 1 else 'them'}: {_typed_columns(missing, asked)}",
    )


def _typed_columns(sides: Iterable[str], asked: Asked) -> str:
    return " ".join(asked.typed(f"{side}_column", "COLUMN") for side in sides)
