"""How the docs' pictures are made: small enough for a phone, the same bytes each time."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure  # not pyplot: no global state, no display

from attuner.data.preparation import examples_of
from attuner.data.reading import read_units
from attuner.data.units import Example

DATA = "package:jupyterlab-language-pack-fr-FR"
PAGES = Path(__file__).parents[1] / "explanation"
TEAL, ORANGE, GREY, PALE = "#00796b", "#e65100", "#616161", "#d5d5d5"
_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.frameon": False,
    "svg.hashsalt": "attuner",
}


def save(file: Path, draw: Callable[[Figure], None], *, height: float) -> None:
    """Draw a picture of 5 inches' width into an SVG file."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(5, height), layout="constrained")
        draw(figure)
        figure.savefig(file, metadata={"Date": None})


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all pictures have."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    made.add_argument("--output", type=Path, default=PAGES, help="folder for the pictures")
    return made


def demo_examples(*, duplicates: str = "skip") -> list[Example]:
    """The demo's data: JupyterLab's French catalogs."""
    skipped: Counter[str] = Counter()
    units = read_units(DATA, source_language="en", target_language="fr", skipped=skipped)
    return list(examples_of(units, duplicates, skipped))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its numbers on the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
