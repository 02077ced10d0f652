"""Faults advise what the user can type, wherever the file was named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from readers import error_of

from attuner.data.asked import recipe_options

HELD_OUT = recipe_options("data.validation[1]")


def test_a_fault_of_a_held_out_table_names_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"english,fr\none,d\xe9j\xe0\n")
    assert error_of(path, options=HELD_OUT) == (
        f"{path}: no column for the source text.\n"
        "Expected a column `en` or `source` or `translation`; found: english, fr.\n"
        "Name it: data.validation[1].columns.source=COLUMN"
    )
    assert error_of(path, options=HELD_OUT, columns={"source": "english"}) == (
        f"{path}:2: byte 0xe9 at byte 6 of the line is not utf-8.\n"
        "The file is read as utf-8. Set its encoding, as in data.validation[1].encoding=cp1252, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.txt", "Name that one: {}target_path=FILE"),
        (
            "a.pox",
            "Text tables and catalogs may end in .gz as well. "
            "For parallel text, set {}target_path=FILE",
        ),
    ],
)
def test_files_of_no_known_format(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / name).touch()
    for place in ("data.train[0].", "data.validation[1]."):
        said = error_of(tmp_path / name, options=recipe_options(place.rstrip(".")))
        assert said.splitlines()[-1] == remedy.format(place)


def test_options_may_be_flags(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"translation": {"en": "one", "de": "eins"}}) + "\n[]\n")
    flags = {"target": "--target {}", "bad_entries": "--bad-entries {}"}
    assert error_of(path, options=flags) == (
        f"{path}: the column `translation` has no text in fr, it has: de, en.\n"
        "The target language must be one of these.\n"
        "Choose one of them, as --target CODE, or give other data."
    )
    assert error_of(path, options=flags, target_language="de") == (
        f"{path}:2: a row of type list, not an object.\n"
        "Every row is an object with named values. Mend it, or set --bad-entries skip "
        "(skipped entries are counted)."
    )
