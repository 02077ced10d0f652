"""CSV, TSV, JSON, JSONL, Parquet: columns, encodings, and what is said of broken rows."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from readers import error_of, read

from attuner.data.units import Unit

OR_SKIP = "or set data.bad_entries=skip (skipped entries are counted)."
SET_ENCODING = "Set its encoding, as in data.train[0].encoding=cp1252"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(units: list[Unit]) -> list[tuple[str, tuple[str, ...]]]:
    return [(unit.source, unit.targets) for unit in units]


ROW: dict[str, Any] = {"translation": {"en": "one", "fr": "un"}}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (ROW, {}),
        ({"en": "one", "fr": "un"}, {}),
        ({"EN": "one", "fr_FR": "un", "source": "x"}, {}),
        ({"source": "one", "target": "un"}, {}),
        ({"en": "x", "fr": "x", **ROW}, {}),
        ({"english": "one", "french": "un", **ROW}, {"source": "english", "target": "french"}),
        ({"english": "one", "fr": "un"}, {"source": "english"}),
    ],
)
def test_columns(tmp_path: Path, row: dict[str, Any], columns: dict[str, str]) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    assert pairs(read(path, columns=columns)) == [("one", ("un",))]
    path = write(tmp_path / "a.json", json.dumps([row]))
    assert pairs(read(path, columns=columns)) == [("one", ("un",))]
    table = pyarrow.Table.from_pylist([row])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert pairs(read(tmp_path / "a.parquet", columns=columns)) == [("one", ("un",))]


def test_several_references_and_untranslated(tmp_path: Path) -> None:
    rows = [["un", "une"], "", None, [], ["", None, "un"]]
    text = "".join(json.dumps({"en": "one", "fr": target}) + "\n" for target in rows)
    units = read(write(tmp_path / "a.jsonl", text))
    assert [unit.targets for unit in units] == [("un", "une"), (), (), (), ("un",)]
    assert [unit.state for unit in units][:3] == ["translated", "untranslated", "untranslated"]


def test_catalog_of_the_row(tmp_path: Path) -> None:
    rows = [{**ROW, "catalog": "menus"}, {**ROW, "catalog": ""}]
    path = write(tmp_path / "a.jsonl.gz", b"")
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert [unit.address.catalog for unit in read(path)] == ["menus", str(path)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0].address.catalog == "menus"


def test_line_breaks_of_unicode_do_not_end_a_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"en": "a\u2028b\x85c", "fr": "d"}\r\n\r\n{"en":"e","fr":"f"}'
    )
    units = read(path)
    assert [(u.source, u.address.line, u.address.unit) for u in units] == [
        ("a\u2028b\x85c", 1, "1"),
        ("e", 3, "2"),
    ]


def test_jsonl_faults(tmp_path: Path) -> None:
    lines = [b'{"en": "a", "fr": "b"}', b'{"en": "a" "fr"}', b"7", b'{"en": "a"}', b'{"fr": "b"}']
    lines += [b'{"en": 5, "fr": "b"}', b'{"en": "\xe9", "fr": "b"}', b'{"en": null, "fr": "b"}']
    lines += [b'{"en": "\\ud800", "fr": "b"}', b'{"en": "a", "fr": "\\u0000"}']
    path = write(tmp_path / "a.jsonl", b"\n".join(lines))
    expected = [
        f"{path}:2: not JSON: Expecting ',' delimiter at column 12.",
        f"{path}:3: a row of type int, not an object.",
        f"{path}:4: no value for fr.",
        f"{path}:5: no value for en.",
        f"{path}:6: 5 where a text should be.",
        f"{path}:7: byte 0xe9 at byte 9 of the line is not utf-8.",
        f"{path}:8: no value for en.",
        f"{path}:9: half a surrogate pair, \\ud800, in the text.",
        f"{path}:10: NUL character in the text.",
        "9 bad entries in all.",
        "Every line is an object.",
        "Every row is an object with named values.",
        "Every row needs both columns.",
        "Source and target are strings.",
        "The file is read as utf-8.",
        f"A text consists of whole Unicode characters other than NUL. Mend them, {OR_SKIP}",
    ]
    assert error_of(path).split("\n") == expected
    skipped: Counter[str] = Counter()
    assert pairs(read(path, bad_entries="skip", skipped=skipped)) == [("a", ("b",))]
    assert skipped == {
        "invalid JSON": 1,
        "not an object": 1,
        "missing column value": 3,
        "not a text": 1,
        "invalid encoding": 2,
        "NUL character": 1,
    }


def test_translation_without_the_language(tmp_path: Path) -> None:
    expected = (
        "{}: the column `translation` has no text in fr, it has: de, en.\n"
        "The target language must be one of these.\n"
        "Choose one of them, as task.target=CODE, or give other data."
    )
    row = {"translation": {"en": "one", "de": "eins"}}
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    assert error_of(path) == expected.format(path)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert error_of(path) == expected.format(path)


def test_csv_without_the_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "english,french\none,un\n")
    assert error_of(path) == (
        f"{path}: no column for the source text and none for the target text.\n"
        "Expected a column `en` or `source` or `translation`, and a column `fr` or `target` or "
        "`translation`; found: english, french.\n"
        "Name them: data.train[0].columns.source=COLUMN data.train[0].columns.target=COLUMN"
    )
    assert error_of(path, columns={"source": "english", "target": "frnch"}) == (
        f"{path}: no column for the target text.\n"
        "Expected a column `frnch`; found: english, french.\n"
        "Name it: data.train[0].columns.target=COLUMN"
    )
    assert error_of(path, columns={"source": "french", "target": "french"}) == (
        f"{path}: source and target are both in the column french.\n"
        "The two sides stand in different columns.\n"
        "Set data.train[0].columns.source=COLUMN data.train[0].columns.target=COLUMN"
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, separator: str, end: str) -> None:
    rows = ["en|fr|x", '"a ""b""|c"|"d', 'e"|', "", "f|g"]
    text = end.join(row.replace("|", separator) for row in rows)
    units = read(write(tmp_path / "a.csv", "\ufeff" + text))
    assert [(u.source, u.targets, u.address.line, u.address.unit) for u in units] == [
        (f'a "b"{separator}c', ("d\ne",), 2, "1"),
        ("f", ("g",), 5, "2"),
    ]


def test_tsv_has_no_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'en\tfr\n"Hello", he said\t« Bonjour »\n')
    assert pairs(read(path)) == [('"Hello", he said', ("« Bonjour »",))]


def test_csv_faults(tmp_path: Path) -> None:
    text = b'en,fr\n"a\nb",c\nd,e,f\ng\n\xe9,h\ni,"j"k\nl,m\n'
    path = write(tmp_path / "a.csv", text)
    assert error_of(path).split("\n")[:5] == [
        f"{path}:4: 3 values for 2 columns.",
        f"{path}:5: no value for fr.",
        f"{path}:6: byte 0xe9 at byte 1 of the line is not utf-8.",
        f"{path}:7: ',' expected after '\"'.",
        "4 bad entries in all.",
    ]
    skipped: Counter[str] = Counter()
    assert pairs(read(path, bad_entries="skip", skipped=skipped)) == [
        ("a\nb", ("c",)),
        ("l", ("m",)),
    ]
    assert skipped == {
        "wrong number of columns": 1,
        "missing column value": 1,
        "invalid encoding": 1,
        "invalid CSV": 1,
    }


def test_csv_with_a_quote_that_never_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'en,fr\na,b\nc,"d\ne,f\n')
    assert error_of(path) == (
        f"{path}:3: unexpected end of data.\n"
        "A value with quotes, separators or line breaks is quoted, its quotes doubled. "
        f"Mend it, {OR_SKIP}"
    )


@pytest.mark.parametrize("rows", [["i,j", "k,l"], ["i,j", '"k, ""l""",m', "n,o"], ["i"] * 9])
def test_csv_with_a_quote_that_never_ends_loses_its_line_alone(
    tmp_path: Path, rows: list[str]
) -> None:
    whole = write(tmp_path / "a.csv", "\n".join(["en,fr", "a,b", "c,d", *rows]))
    broken = write(tmp_path / "b.csv", "\n".join(["en,fr", "a,b", '"c,d', *rows]))
    seen, skipped = {}, Counter[str]()
    for path in (whole, broken):
        units = read(path, bad_entries="skip", skipped=skipped)
        seen[path] = [(u.source, u.targets, u.address.line, u.address.unit) for u in units]
    assert seen[broken] == [entry for entry in seen[whole] if entry[0] != "c"]
    assert skipped["invalid CSV"] == 1


def test_csv_header_in_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "en,français\none,été\n".encode("cp1252"))
    assert error_of(path) == (
        f"{path}:1: byte 0xe7 at byte 8 of the line is not utf-8.\n"
        f"The file is read as utf-8.\n{SET_ENCODING}"
    )
    options = {"encoding": "cp1252", "columns": {"target": "français"}}
    assert pairs(read(path, **options)) == [("one", ("été",))]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-8-sig"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "en,fr\nno,の\r\nten,十\n".encode(encoding))
    assert pairs(read(path, encoding=encoding)) == [("no", ("の",)), ("ten", ("十",))]


def test_broken_utf16_names_the_line(tmp_path: Path) -> None:
    content = "en,fr\nno,non\nyes,oui\n".encode("utf-16-le")
    broken = content[:-12] + b"\x00\xdc" + content[-10:]
    path = write(tmp_path / "a.csv", broken)
    assert error_of(path, encoding="utf-16-le").startswith(f"{path}:3: byte 0x00 at byte ")


@pytest.mark.parametrize("encoding", ["utf-99", "base64", "rot13", "idna", "", "a\0b"])
def test_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "en,fr\n")
    shown = encoding.replace("\0", "\\x00")
    assert error_of(path, encoding=encoding) == (
        f'encoding "{shown}" is unknown.\n'
        "Known are Python's text encodings: utf-8, utf-16, cp1252, iso-8859-15, shift_jis ...\n"
        "Set encoding to one of them."
    )


def test_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[\n {"en": "one", "fr": "un"},\n 3\n]')
    assert error_of(path).startswith(f"{path}: row 2: a row of type int, not an object.\n")
    path = write(tmp_path / "a.json", '[{"en": "one", "fr": "un"},\n oops]')
    assert error_of(path) == (
        f"{path}:2: not JSON: Expecting value.\nA JSON file holds an array of objects."
    )
    path = write(tmp_path / "a.json", b'[{"en": "one",\n "fr": "\xe9"}]')
    assert error_of(path) == (
        f"{path}:2: byte 0xe9 is not utf-8.\nThe file is read as utf-8.\n{SET_ENCODING}"
    )
    path = write(tmp_path / "a.json", "[" * 100_000)
    assert error_of(path).startswith(f"{path}:1: not JSON: ")
    path = write(tmp_path / "a.json", '{"en": "one", "fr": "un"}\n{"en": "two", "fr": "deux"}\n')
    assert len(read(path)) == 2


def test_parquet_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", b"PAR1")
    assert error_of(path).startswith(f"{path}: not a readable Parquet file: ")
    assert error_of(path).endswith("\nThe file must be whole Parquet.")


def test_empty_files(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", "")) == []
    assert read(write(tmp_path / "a.json", "[]")) == []
    assert error_of(write(tmp_path / "a.csv", "")).split("\n")[1] == (
        "Expected a column `en` or `source` or `translation`, and a column `fr` or `target` or "
        "`translation`; found: none."
    )


def test_folder_laid_out_as_on_the_hub(tmp_path: Path) -> None:
    for pair in ("en-fr", "en-it"):
        (tmp_path / pair).mkdir()
        for split, text in (("train", "one"), ("test", "two")):
            language = pair[-2:]
            row = {"id": "0", "translation": {"en": text, language: f"{text} {language}"}}
            path = tmp_path / pair / f"{split}-00000-of-00001.parquet"
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert pairs(read(tmp_path)) == [("one", ("one fr",))]
    assert pairs(read(tmp_path, split="test")) == [("two", ("two fr",))]
    assert pairs(read(tmp_path, config="en-it", target_language="it")) == [("one", ("one it",))]
    back = read(tmp_path, source_language="fr", target_language="en")
    assert pairs(back) == [("one fr", ("one",))]
    assert error_of(tmp_path, config="en-frr") == (
        f"{tmp_path}: no configuration en-frr in this folder.\n"
        'A configuration is a sub-folder. Did you mean "en-fr"? Known: en-fr, en-it.\n'
        "Choose one of them, as data.train[0].config=NAME, or leave it out."
    )
    assert error_of(tmp_path, split="dev") == (
        f"{tmp_path}: no files of the split dev.\n"
        "Known: test, train.\n"
        "Choose one of them, as data.train[0].split=NAME."
    )
