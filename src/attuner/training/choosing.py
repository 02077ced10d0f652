"""Which examples `attuner check` shows: one by its number, or those that hold a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attuner.data.parts import PARTS, Parts
from attuner.errors import UsageError

# Number through all parts, part, example.
Numbered = tuple[int, str, Any]

_MOST_FOUND = 10


def numbered(prepared: Parts[Any]) -> Iterator[Numbered]:
    """All examples with their number, counted from 1, and part."""
    row = 0
    for part in PARTS:
        for example in getattr(prepared, part):
            row += 1
            yield row, part, example


def choose(
    prepared: Parts[Any],
    row: int | None,
    find: str | None,
    holds: Callable[[Any, str], bool],
) -> tuple[list[Numbered], int | None]:
    """The examples asked for, at most ten of those found, and how many were found.

    Args:
        prepared: All examples.
        row: The number of one, counted from 1 through training, validation and test.
        find: A text to look for, in any case; None where none is.
        holds: Whether an example holds a text that is casefolded.

    Raises:
        UsageError: There is no such number.
    """
    chosen = [] if row is None else [_at(prepared, row)]
    if find is None:
        return chosen, None
    num_found = 0
    for entry in numbered(prepared):
        if holds(entry[2], find.casefold()):
            num_found += 1
            if num_found <= _MOST_FOUND:
                chosen.append(entry)
    return chosen, num_found


def _at(prepared: Parts[Any], row: int) -> Numbered:
    before = 0
    for part in PARTS:
        examples = getattr(prepared, part)
        if before < row <= before + len(examples):
            return row, part, examples[row - before - 1]
        before += len(examples)
    raise UsageError(
        f"There is no example {row:,}.",
        f"The examples are counted from 1 to {before:,}, through training, validation and test.",
        "Choose another --row, or look for a text with --find.",
    )
