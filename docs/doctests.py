"""Doctests as code: Markdown takes their `>>>` for quotations within quotations."""

from __future__ import annotations

import re

import griffe

_DOCTEST = re.compile(r"^>>> .+(?:\n.+)*", re.M)


class FencedDoctests(griffe.Extension):
    """Puts a fence around each doctest of a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Change the docstring in place."""
        if obj.docstring:
            obj.docstring.value = _DOCTEST.sub(
                lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value
            )
