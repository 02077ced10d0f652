"""Text of others in Markdown: what it holds is shown, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attuner.errors import shown

# What Markdown gives a meaning to anywhere, mentions and mathematics included.
_SPECIAL = re.compile(r"([\\`*_\[\]~$@])")
# HTML, and what ends the cell of a table: a backslash is not enough everywhere.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
# What has a meaning at the start of a line: headings, lists, rules.
_START = re.compile(r"^(\d*)([#+=.)-]+)(?=\s|$)")


class Markdown(str):
    """Text that is Markdown already, and is not to be escaped."""

    __slots__ = ()


def one_line(text: str) -> str:
    r"""A text on one line, without what steers a terminal or turns text around.

    >>> one_line("a\nb\x1b[2J\u2028c")
    'a b\\x1b[2J c'
    """
    return " ".join(shown(text).splitlines())


def escaped(value: object) -> str:
    r"""A value as Markdown shows it; what is Markdown already stays as it is.

    >>> print(escaped("|x| *a* <b> well-known."), escaped("1. # b"), escaped(Markdown("**a**")))
    &#124;x&#124; \*a\* &lt;b&gt; well-known. 1\. # b **a**
    """
    if isinstance(value, Markdown):
        return value
    text = _SPECIAL.sub(r"\\\1", one_line(str(value)).strip())
    for char, entity in _ENTITIES.items():
        text = text.replace(char, entity)
    return _START.sub(r"\1\\\2", text)


def code(text: str) -> Markdown:
    """A text within a line, letter by letter; not for tables, whose cells a bar ends.

    >>> code("x"), code("a`b")
    ('`x`', '`` a`b ``')
    """
    text = one_line(text)
    if "`" not in text:
        return Markdown(f"`{text}`")
    ticks = "`" * (_longest_run(text) + 1)
    return Markdown(f"{ticks} {text} {ticks}")


def block(text: str, language: str) -> Markdown:
    """Lines of code, with a fence that is longer than any in them."""
    fence = "`" * max(3, _longest_run(text) + 1)
    body = "\n".join(shown(text).strip("\n").splitlines())
    return Markdown(f"{fence}{language}\n{body}\n{fence}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0) -> Markdown:
    """A table.

    Args:
        head: The names of its columns.
        rows: What stands in them.
        numbers: How many columns, the last ones, are set to the right.
    """
    sides = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [[escaped(name) for name in head], sides]
    lines += [[escaped(cell) for cell in row] for row in rows]
    return Markdown("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
