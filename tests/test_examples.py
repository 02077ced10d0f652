"""The examples: notebooks are their scripts, hold a full run, and run again with fewer updates."""

from __future__ import annotations

import base64
import json
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
WITH_PICTURES = {"keras_translation": 1, "translation": 1, "reviews": 1, "looking_inside": 2}
_WIDEST_TEXT, _WIDEST_PICTURE = 64, 480


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
    CHECKS[name](printed(notebook), True)


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
        (when, part): numbers(words)
        for when, part, *words in rows(text, "before +[vt]", "epoch +val", "after +test")
    }
    _, _, first, first_chrf = table["before", "test"]
    _, _, last, last_chrf = table["after", "test"]
    assert 0 < first < first_chrf < 100
    assert last < last_chrf < 100
    assert last > first + (5 if is_full else -5)
    if is_full:
        assert table["epoch", "validation"][1] < table["before", "validation"][1]
    assert len(rows(text, "epoch +val")) == (3 if is_full else 1)


def check_one_call(text: str, is_full: bool) -> None:
    check_translation(text, is_full)
    changes = re.findall("^  before  (.+)\n  after   (.+)$", text, re.M)
    assert len(changes) == 3
    assert any(before != after for before, after in changes) or not is_full


def check_text_to_text(text: str, is_full: bool) -> None:
    check_translation(text, is_full)
    (before,) = rows(text, "before +test")
    (after,) = rows(text, "after +test")
    assert float(before[4]) < 30  # it translates the prefix, too
    assert float(after[4]) > 45 or not is_full
    assert text.startswith(("traduire", "Traduire", "traduction", "Traduction"))


def check_own_translation(text: str, is_full: bool) -> None:
    alone, two = text.split("2 process(es)")
    assert alone.startswith("1 process(es), packed")
    kinds = ("before", "epoch", "test")
    for table in (rows(alone, *kinds), rows(two, *kinds)):
        assert [row[0] for row in table] == ["before", *["epoch"] * (2 if is_full else 1), "test"]
        *_, first, first_bleu, _ = numbers(table[0])
        *_, last, last_bleu, _ = numbers(table[-2])
        assert last < first or not is_full
        assert last_bleu > first_bleu + (5 if is_full else -5)
    for one, other in zip(rows(alone, *kinds), rows(two, *kinds), strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=0.5 if is_full else 0.11)


def check_pairs(text: str, is_full: bool, scale: float = 100) -> None:
    before, *epochs, last = rows(text, "before", "epoch", "after")
    loss, accuracy, f1 = numbers(before)[-3:]
    assert 0 <= accuracy <= scale
    assert 0 <= f1 <= scale
    last_loss, last_accuracy, last_f1 = numbers(last)[-3:]
    assert last_loss < loss
    if is_full:
        assert last_accuracy > 0.75 * scale
        assert last_f1 > 0.82 * scale
        assert last_accuracy < last_f1 < scale
        assert len(epochs) >= 2


def check_pairs_by_hand(text: str, is_full: bool) -> None:
    check_pairs(text, is_full, scale=1)


def check_reviews(text: str, is_full: bool) -> None:
    assert len(rows(text, "epoch")) == (3 if is_full else 1)
    before, *_, last = rows(text, "before", "epoch", "after +test", "test")
    first_loss, (*_, last_loss, accuracy) = numbers(before)[-2], numbers(last)
    assert last_loss < first_loss
    assert 0 < accuracy < 100
    assert accuracy > 45 or not is_full


def check_reviews_by_hand(text: str, is_full: bool) -> None:
    check_reviews(text, is_full)
    matrix = [numbers(row) for row in rows(text, r"[1-5] +\d+ +\d")]
    assert [row[0] for row in matrix] == [1, 2, 3, 4, 5]
    right = sum(row[number] for number, row in enumerate(matrix, start=1))
    everything = sum(sum(row[1:]) for row in matrix)
    (test,) = rows(text, "test")
    assert 100 * right / everything == pytest.approx(numbers(test)[-1], abs=0.06)


def check_looking_inside(text: str, is_full: bool) -> None:
    kinds = ("to 128", "to the longest", "of like length", "packed")
    filled = {kind: numbers(row) for kind in kinds for row in rows(text, kind)[:1]}
    assert [filled[kind][-1] for kind in kinds] == sorted(
        (filled[kind][-1] for kind in kinds), reverse=True
    )
    assert filled["packed"][-1] == 0
    assert filled["to 128"][-1] > 80
    (right,), (wrong,) = rows(text, "French, right"), rows(text, "French, wrong")
    assert numbers(wrong)[0] > 1.3 * numbers(right)[0]
    assert "▁défaut" in text
    assert "par defaut, developper les fils" in text
    labels, shifted = (
        [list(map(int, line.split())) for line in text.split(f"\n{name}\n")[1].splitlines()[:3]]
        for name in ("labels", "decoder_input_ids")
    )
    assert any(-100 in row for row in labels)
    for row, after in zip(labels, shifted, strict=True):
        assert after == [8000, *(8000 if token == -100 else token for token in row[:-1])]
    if is_full:
        seconds = {kind: numbers(rows(text, kind)[1])[-1] for kind in kinds}
        assert seconds["packed"] < seconds["of like length"] < seconds["to 128"]


def check_use(text: str, is_full: bool) -> None:
    assert len(re.findall("'translation_text': ", text)) == 3
    (one_by_one,), (at_once,) = rows(text, "one by one"), rows(text, "as a list")
    assert numbers(at_once)[0] > numbers(one_by_one)[0]
    changes = re.findall("^  before  (.+)\n  after   (.+)$", text, re.M)
    assert len(changes) == 3
    assert any(before != after for before, after in changes) or not is_full
    lines = text.splitlines()
    empty = lines.index("")  # of the file
    assert lines[empty - 1] == changes[1][1]
    assert lines[empty + 1] == f"  {changes[0][1]}"
    plain = lines[lines.index(next(line for line in lines if line.startswith("as a list"))) + 1]
    assert f"'translation_text': '{plain}'" in text  # by transformers, and by the pipeline


def check_keras(text: str, is_full: bool) -> None:
    (_, first_loss, first_bleu), *epochs = map(numbers, rows(text, r" {4}\d "))
    assert len(epochs) == (3 if is_full else 1)
    *_, last_loss, last_bleu = epochs[-1]
    assert last_loss < first_loss or not is_full
    assert last_bleu > first_bleu + (5 if is_full else -5)
    changes = re.findall("^  before  (.+)\n  after   (.+)$", text, re.M)
    assert len(changes) == 3
    assert any(before != after for before, after in changes) or not is_full


CHECKS: dict[str, Callable[[str, bool], None]] = {
    "keras_translation": check_keras,
    "looking_inside": check_looking_inside,
    "pairs": check_pairs,
    "pairs_loop": check_pairs_by_hand,
    "reviews": check_reviews,
    "reviews_loop": check_reviews_by_hand,
    "text_to_text": check_text_to_text,
    "translation": check_one_call,
    "translation_loop": check_own_translation,
    "use_it": check_use,
}
_STEPS = {"looking_inside": 1, "use_it": 10}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a process of its own; the measured ones take 10 to 40 s with one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = read_script(FOLDER / f"{name}.py")
    arguments = ["--steps", str(_STEPS.get(name, 10))]
    if name.startswith("pairs"):
        arguments += ["--data", str(write_pairs(tmp_path))]
    execute(notebook, tmp_path / "here", arguments)
    assert len(pictures(notebook)) == WITH_PICTURES.get(name, 0)
    CHECKS[name](printed(notebook), False)


@pytest.mark.slow
def test_the_loop_is_a_script_for_two_processes(tmp_path: Path) -> None:
    script = FOLDER / "translation_loop.py"
    text = output(torchrun(2, script, "--steps", 4, folder=tmp_path))
    assert "2 process(es)" in text
    assert len(rows(text, "before", "epoch", "test")) == 3  # of the main process alone
    assert len(list(tmp_path.glob("runs/loop-*/model.safetensors"))) == 1
