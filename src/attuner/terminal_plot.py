"""Curves in a terminal: of dots of Braille (2 by 4 in a character), or of letters in ASCII."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Bits of a Braille character's dots, by row and column (Unicode 16, chapter 21.1).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points.

    Attributes:
        name: Stands at its right end.
        points: (x, y), by x; numbers that are finite.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A character of a plot, and the curve that it is of; None for axes and blanks."""

    text: str
    curve: int | None = None


def plot(
    curves: Sequence[Curve], *, width: int, height: int = 10, is_ascii: bool = False
) -> list[list[Cell]]:
    """Draw curves in one frame, lines of cells from the top.

    Args:
        curves: At least one point in all of them.
        width: Characters of a line, axis and names included.
        height: Lines, but for the one of the numbers below.
        is_ascii: Whether to do without Braille and frames.
    """
    points = [point for curve in curves for point in curve.points]
    left, right = _range([x for x, _ in points], pads=False)
    low, high = _range([y for _, y in points], pads=True)
    digits = 0 if high - low >= 20 else 1 if high - low >= 2 else 2 if high - low >= 0.2 else 4
    labels = [f"{high:.{digits}f}", f"{(high + low) / 2:.{digits}f}", f"{low:.{digits}f}"]
    margin = max(map(len, labels))
    names = max((len(curve.name) for curve in curves), default=0)
    columns = max(8, width - margin - 3 - names - 1)
    grid: list[list[tuple[int, int | None]]] = [[(0, None)] * columns for _ in range(height)]
    ends: dict[int, int] = {}  # by line, the curve whose name stands at its end
    for number, curve in enumerate(curves):
        spots = [
            (
                round((x - left) / (right - left) * (2 * columns - 1)),
                round((high - y) / (high - low) * (4 * height - 1)),
            )
            for x, y in curve.points
        ]
        for x, y in _joined(spots):
            bits, _ = grid[y // 4][x // 2]
            grid[y // 4][x // 2] = bits | _DOTS[y % 4][x % 2], number
        if spots:
            ends[_free_line(spots[-1][1] // 4, ends, height)] = number
    side = {0: labels[0], (height - 1) // 2: labels[1], height - 1: labels[2]}
    bar = "|" if is_ascii else "│"
    lines = []
    for row, cells in enumerate(grid):
        line = [Cell(f"{side.get(row, ''):>{margin}} {bar}")]
        line += [Cell(_character(bits, number, is_ascii), number) for bits, number in cells]
        if row in ends:
            line.append(Cell(f" {curves[ends[row]].name}", ends[row]))
        lines.append(line)
    return [*lines, [Cell(_axis(left, right, margin, columns, is_ascii))]]


def _range(values: Sequence[float], *, pads: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return (low - 1, high + 1) if pads else (low, high + 1)
    return low, high


def _free_line(wanted: int, taken: Container[int], height: int) -> int:
    """The nearest line without a name; the wanted one where all have one."""
    free = [row for row in range(height) if row not in taken]
    return min(free, key=lambda row: abs(row - wanted), default=wanted)


def _joined(spots: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """The dots on straight lines from each spot to the next."""
    found = set(spots)
    for (x, y), (to_x, to_y) in pairwise(spots):
        steps = max(abs(to_x - x), abs(to_y - y))
        for step in range(1, steps):
            found.add((x + round((to_x - x) * step / steps), y + round((to_y - y) * step / steps)))
    return found


def _character(bits: int, number: int | None, is_ascii: bool) -> str:
    if number is None:
        return " "
    return "ox+*#@"[number % 6] if is_ascii else chr(_BLANK + bits)


def _axis(left: float, right: float, margin: int, columns: int, is_ascii: bool) -> str:
    corner, line = ("+", "-") if is_ascii else ("└", "─")
    start, end = f" {left:g} ", f" {right:g}"
    rest = columns - len(start) - len(end)
    return f"{'':{margin}} {corner}{start}{line * max(rest, 1)}{end}"
