"""Cut a text into the pieces that a model sees, and put its translation back together.

A model that translates sees neither the white space at the edges of a line nor line breaks: they
are kept aside and put back around the translation, so that they can never be lost or invented. A
model that makes any text from any other sees the whole text, and says where lines end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Line breaks that str.splitlines would honour but localisation files do not mean (\x0b, \x0c,
# \x1c-\x1e, \x85, \u2028) stay inside the line.
_LINE_BREAK = re.compile(r"(\r\n|\n|\r)")


@dataclass(frozen=True, slots=True)
class Segments:
    """A text as alternating glue and lines: `glue[0] lines[0] glue[1] lines[1] ... glue[n]`.

    Attributes:
        lines: What the model sees; none is empty or has white space at its edges.
        glue: White space and line breaks around them, one more than lines.
    """

    lines: tuple[str, ...]
    glue: tuple[str, ...]

    def join(self, lines: Sequence[str]) -> str:
        r"""The text with `lines` in place of its own.

        >>> segment(" Open\n  Close ").join(["Ouvrir", "Fermer"])
        ' Ouvrir\n  Fermer '
        """
        if len(lines) != len(self.lines):
            raise ValueError(f"{len(lines)} lines for {len(self.lines)} places")
        pieces = [piece for pair in zip(self.glue, lines, strict=False) for piece in pair]
        return "".join([*pieces, self.glue[-1]])


def segment(text: str, *, whole: bool = False) -> Segments:
    r"""Cut `text` into lines and the white space around them; `join(lines)` gives it back.

    >>> segment(" Open\n\n  Close ").lines
    ('Open', 'Close')
    >>> segment(" Open\n\n  Close ").glue
    (' ', '\n\n  ', ' ')

    With `whole`, the text is one line without edges, and what takes its place stands alone:

    >>> segment(" Open\n\n  Close ", whole=True)
    Segments(lines=('Open\n\n  Close',), glue=('', ''))
    """
    if whole:
        core = text.strip()
        return Segments((core,), ("", "")) if core else Segments((), (text,))
    lines: list[str] = []
    glue = [""]
    for piece in _LINE_BREAK.split(text):
        core = piece.strip()
        if not core:
            glue[-1] += piece
            continue
        start = piece.index(core)
        glue[-1] += piece[:start]
        lines.append(core)
        glue.append(piece[start + len(core) :])
    return Segments(tuple(lines), tuple(glue))


def paired_lines(source: str, target: str, *, whole: bool = False) -> Sequence[tuple[str, str]]:
    """Pair the lines of two texts, or the whole ones, where both have as many; else nothing."""
    if whole or not ("\n" in source or "\r" in source or "\n" in target or "\r" in target):
        ours, theirs = source.strip(), target.strip()  # most texts: no search is needed
        return ((ours, theirs),) if ours and theirs else ()
    sources, targets = segment(source).lines, segment(target).lines
    return tuple(zip(sources, targets, strict=True)) if len(sources) == len(targets) else ()
