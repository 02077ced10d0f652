"""Texts and language codes that something trips over."""

from __future__ import annotations

from random import Random

from fuzz.mutations import PIECES

_TEXTS = [
    "",
    " ",
    "Open",
    "Ouvrir…",
    "%s of %d",
    "a\nb",
    "\0",
    "\ud800",
    "é" * 300,
    "\u202e",
    "]]>",
]
_TEXTS += [
    'say "no"',
    "a,b;c\td",
    "\\",
    "\\n",
    "#",
    "<b>&amp;",
    "'",
    "\r",
    "\x1b[31m",
    "🏳️‍🌈",
    "\ufeff",
]
CODES = ["en", "fr", "en", "fr", "de", "fr_CA", "", "x" * 99, "en-fr", "\ud83d", "1"]


def any_text(random: Random) -> str:
    """Now and then a piece of some format's syntax."""
    if random.random() < 0.1:
        return random.choice(PIECES).decode("utf-8", "surrogateescape")
    return "".join(random.choices(_TEXTS, k=random.choice((1, 1, 1, 2, 5))))


def to_bytes(text: str) -> bytes:
    """UTF-8, halves of surrogate pairs as they stand."""
    return text.encode("utf-8", "surrogatepass")
