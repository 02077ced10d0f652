"""The examples: notebooks are their scripts, hold a full run, and run again with fewer updates."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from several import output, torchrun

from examples.build import FOLDER, SCRIPTS, execute, read_script

NAMES = [script.stem for script in SCRIPTS]
WITH_PICTURES = {"translation": 1, "reviews": 1, "looking_inside": 2}
_WIDEST_TEXT, _WIDEST_PICTURE = 64, 480
_LABELLERS = ("pairs", "pairs_loop", "reviews", "reviews_loop")


def stored(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> Iterator[Any]:
    for cell in code_cells(notebook):
        yield from cell.outputs


def printed(notebook: Any) -> str:
    return "".join(found.text for found in outputs(notebook) if found.output_type == "stream")


def pictures(notebook: Any) -> list[bytes]:
    return [
        base64.b64decode(found.data["image/png"])
        for found in outputs(notebook)
        if "image/png" in found.get("data", {})
    ]


def rows(text: str, *begins: str) -> list[list[str]]:
    """The words of the lines that begin with one of these."""
    return [line.split() for line in text.splitlines() if re.match("|".join(begins), line)]


def numbers(words: list[str]) -> list[float]:
    return [float(word.rstrip("%").replace(",", "")) for word in words if re.match(r"[\d.]", word)]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script(name: str) -> None:
    made, kept = read_script(FOLDER / f"{name}.py"), stored(name)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    assert kept.metadata == made.metadata


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_a_whole_run(name: str) -> None:
    notebook = stored(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(found.output_type != "error" for found in outputs(notebook))
    assert all(found.get("name") != "stderr" for found in outputs(notebook))
    assert len(pictures(notebook)) == WITH_PICTURES.get(name, 0)
    check = CHECKS[name]
    check(printed(notebook))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_reads_well_on_a_phone(name: str) -> None:
    notebook = stored(name)
    lines = printed(notebook).splitlines()
    lines += [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > _WIDEST_TEXT] == []
    for picture in pictures(notebook):
        (width,) = struct.unpack(">I", picture[16:20])
        shown = [
            found.metadata["image/png"]["width"]
            for found in outputs(notebook)
            if "width" in found.get("metadata", {}).get("image/png", {})
        ]
        assert min([width, *shown]) <= _WIDEST_PICTURE
    assert not re.search(r"/(work|tmp|home|root)/", (FOLDER / f"{name}.ipynb").read_text())


def test_the_page_lists_all_examples() -> None:
    page = (FOLDER.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"(../examples/{name}.py)" in page
        assert f"(../examples/{name}.ipynb)" in page


def write_pairs(folder: Path) -> Path:
    """Pairs of sentences of our own: the same thing in other words, or another thing."""
    things = ("file", "window", "folder", "menu", "image", "table", "kernel", "plugin")
    acts = {"opened": "The {} is open now.", "saved": "They saved the {}."}
    pairs = []
    for thing in things:
        for act, other in acts.items():
            first = f"The {thing} was {act}."
            pairs.append((first, other.format(thing), 1))
            pairs.append((first, f"Nobody has seen the {things[-1]}s of {thing}.", 0))
    for name, chosen in (("train", pairs[:24]), ("validation", pairs[24:])):
        lines = [
            json.dumps({"sentence1": one, "sentence2": two, "label": label}) + "\n"
            for one, two, label in chosen
        ]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


# What a run must have shown. `is_full`: with all its updates, not with a few.


def check_translation(text: str, is_full: bool) -> None:
    table = {
        (when, part): [float(word) for word in words]
        for when, part, *words in rows(text, "before +[vt]", "epoch +val", "after +test")
    }
    _, _, first, _ = table["before", "test"]
    _, _, last, _ = table["after", "test"]
    assert 0 < first < 100
    assert last > first + (5 if is_full else -5)
    assert table["epoch", "validation"][1] < table["before", "validation"][1]
    assert len(rows(text, "epoch")) == (5 if is_full else 2)
    assert len(re.findall("^  (?:before|after) ", text, re.M)) == 6


CHECKS: dict[str, Callable[[str, bool], None]] = {}
