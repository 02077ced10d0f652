"""Find the source and the target text in the rows of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from attuner.data.asked import Asked
from attuner.data.languages import find_language
from attuner.data.records import OpenTable, Record, Row, Table
from attuner.data.units import Address, Unit
from attuner.errors import DataError, nearest

# Keys that lead to a text: a column, or a column and a name within it.
Keys = tuple[str, ...]

_PLACE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for the values of columns: `question: {question} context: {context}`.

    Attributes:
        pieces: What stands between the places, one more than they are.
        places: Keys that lead to the text of each place.
    """

    pieces: tuple[str, ...]
    places: tuple[Keys, ...]

    def __str__(self) -> str:
        """The template as it was written."""
        return self.filled([f"{{{'.'.join(keys)}}}" for keys in self.places])

    def filled(self, texts: Iterable[str]) -> str:
        """The text with `texts` in its places.

        >>> Template(("Q: ", " C: ", ""), (("question",), ("context",))).filled(["a", "b"])
        'Q: a C: b'
        """
        pairs = zip(self.pieces, texts, strict=False)
        return "".join([*(part for pair in pairs for part in pair), self.pieces[-1]])


Side = Keys | Template


class Columns(NamedTuple):
    """Where the texts stand: a column, a language within `translation`, or several in a template.

    Attributes:
        source: What leads to the source text.
        target: What leads to the target text or texts.
        others: What leads to further target texts.
    """

    source: Side
    target: Side
    others: tuple[Side, ...] = ()

    @property
    def needed(self) -> set[str]:
        """The columns that the texts are in."""
        sides = (self.source, self.target, *self.others)
        return {keys[0] for side in sides for keys in _keys_of(side)}


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
        language = asked.language_of(side)
        return [named] if named else [*([language] if language else []), side, "translation"]

    def find(side: str) -> Side | None:
        if side in asked.columns:
            if side == "target":
                asked.require_one_target(file)
            return _named(file, asked.columns[side], side, names, asked)
        language = asked.language_of(side)
        if languages_of_translation is not None and language:
            key = find_language(languages_of_translation, language)
            if key is None:
                raise DataError(
                    f"{file}: the column `translation` has no text in {language}, "
                    f"it has: {', '.join(sorted(languages_of_translation))}.",
                    f"The {side} language must be one of these.",
                    f"Choose one of them, as {asked.typed(side, 'CODE')}, or give other data.",
                )
            return ("translation", key)
        column = find_language(names, language) if language else None
        if column is None and side == "target":
            asked.require_one_target(file)
        column = column or (side if side in names else None)
        return None if column is None else (column,)

    found = {side: find(side) for side in ("source", "target")}
    source, target = found.values()
    if source is None or target is None:
        missing = {side: expected(side) for side, keys in found.items() if keys is None}
        raise _no_columns(file, missing, names, asked)
    if source == target:
        raise DataError(
            f"{file}: source and target are both in the column {_spelt(source)}.",
            "The two sides stand in different columns.",
            f"Set {_typed_columns(found, asked)}",
        )
    others = tuple(_further(file, name, names, asked) for name in asked.references)
    spelt = ", ".join(map(_spelt, (target, *others)))
    asked.columns_found[file] = f"{_spelt(source)} → {spelt}"
    return Columns(source, target, others)


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
    for record in table.rows({*columns.needed, "catalog"}):
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
    for side in (columns.source, columns.target, *columns.others):
        values: list[Any] = []
        for keys in _keys_of(side):
            found, value = _lookup(row, keys)
            if not found or (value is None and side is columns.source):
                name = ".".join(keys)
                bad("missing column value", f"no value for {name}", "Every row needs both columns.")
                return None
            values.append(value)
        wrong = [value for value in values if not isinstance(value, str)]
        if not isinstance(side, Template):
            texts.append(values[0])
        else:  # what is no text is refused below, null is an untranslated entry
            texts.append(wrong[0] if wrong else side.filled(values))
    source, *others = texts
    lists = [list(other) if isinstance(other, list | tuple) else [other] for other in others]
    targets = [text for texts in lists for text in texts if text is not None]
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


def _further(file: str, name: str, names: list[str], asked: Asked) -> Side:
    """The column of further references that the user named.

    Raises:
        DataError: It is not there.
    """
    found = _named(file, name, "target", names, asked)
    if found is None:
        raise DataError(
            f"{file}: no column {name} of further references.",
            nearest(name, names),
            "Mend the names in this source's `references`.",
        )
    return found


def _named(file: str, named: str, side: str, names: list[str], asked: Asked) -> Side | None:
    """The column that the user named, or the template over columns; None where it is not there.

    Raises:
        DataError: The template names a column that is not there.
    """
    keys = _keys(named, names)
    if keys is not None or not _PLACE.search(named):
        return keys
    *parts, last = _PLACE.split(named)
    places = []
    for name in parts[1::2]:
        place = _keys(name, names)
        if place is None:
            raise DataError(
                f"{file}: no column {name}, which the template of the {side} text names: {named}",
                nearest(name, names),
                f"Mend the template: {asked.typed(f'{side}_column', 'TEMPLATE')}",
            )
        places.append(place)
    return Template((*parts[::2], last), tuple(places))


def _keys(name: str, names: list[str]) -> Keys | None:
    """The keys that a name means: a column, or `answers.text` within the column `answers`."""
    first, dot, rest = name.partition(".")
    if name in names:
        return (name,)
    return (first, *rest.split(".")) if dot and first in names else None


def _keys_of(side: Side) -> tuple[Keys, ...]:
    return side.places if isinstance(side, Template) else (side,)


def _spelt(side: Side) -> str:
    return str(side) if isinstance(side, Template) else ".".join(side)


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
