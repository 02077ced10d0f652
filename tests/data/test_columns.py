"""Templates over columns, names within columns, several references: in every format of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from readers import error_of, read

ROWS: list[dict[str, Any]] = [
    {
        "question": "who?",
        "context": "Ann {sic}\nsaid so.",
        "answers": {"text": ["Ann", "Ann said"]},
    },
    {"question": "when?", "context": "In May.", "answers": {"text": ["May"]}},
    {"question": "why?", "context": "So.", "answers": {"text": []}},
]
COLUMNS = {"source": "Q: {question} C: {context}", "target": "answers.text"}


def written(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    path = folder / name
    if name == "a.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif name == "a.json":
        path.write_text(json.dumps(ROWS))
    elif name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        data = datasets.Dataset.from_list(ROWS)
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: data)
        return "hub:some/questions"
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "hub"])
def test_a_template_and_several_references(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, str] = {}
    path = written(tmp_path, name, monkeypatch)
    units = read(path, columns=COLUMNS, columns_found=found)
    assert [(unit.source, unit.targets, unit.state) for unit in units] == [
        ("Q: who? C: Ann {sic}\nsaid so.", ("Ann", "Ann said"), "translated"),
        ("Q: when? C: In May.", ("May",), "translated"),
        ("Q: why? C: So.", (), "untranslated"),
    ]
    assert list(found.values()) == ["Q: {question} C: {context} → answers.text"]


def test_a_template_over_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,context,answer\nwho?,"Ann, said so.",Ann\n')
    (unit,) = read(path, columns={"source": "{context} {question}", "target": "-> {answer}"})
    assert (unit.source, unit.targets) == ("Ann, said so. who?", ("-> Ann",))


def test_a_column_may_be_called_as_a_template(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("{a},b.c\none,two\n")
    (unit,) = read(path, columns={"source": "{a}", "target": "b.c"})
    assert (unit.source, unit.targets) == ("one", ("two",))


def test_a_template_of_columns_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,context,answer\na,b,c\n")
    template = "Q: {qestion} C: {context}"
    assert error_of(path, columns={"source": template, "target": "answer"}) == (
        f"{path}: no column qestion, which the template of the source text names: {template}\n"
        'Did you mean "question"? Known: answer, context, question.\n'
        "Mend the template: data.train[0].columns.source=TEMPLATE"
    )


def test_values_that_no_template_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"q": None, "c": "x", "a": "y"}, {"q": ["x"], "c": "x", "a": "y"}, {"c": "x", "a": "y"},
            {"q": "x", "c": "x", "a": None}]  # fmt: skip
    path.write_text(json.dumps({"q": "x", "c": "x", "a": "y"}) + "\n"
                    + "".join(json.dumps(row) + "\n" for row in rows))  # fmt: skip
    columns = {"source": "{q} {c}", "target": "so {a}"}
    assert error_of(path, columns=columns).splitlines()[:3] == [
        f"{path}:2: no value for q.",
        f"{path}:3: ['x'] where a text should be.",
        f"{path}:4: no value for q.",
    ]
    units = read(path, columns=columns, bad_entries="skip")
    assert [unit.state for unit in units] == ["translated", "untranslated"]


def test_without_languages_columns_are_found_by_side(tmp_path: Path) -> None:
    nothing = {"source_language": "", "target_language": ""}
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "a", "target": ["b", "c"], "en": "x", "fr": "x"}\n')
    (unit,) = read(path, **nothing)
    assert (unit.source, unit.targets) == ("a", ("b", "c"))
    path.write_text('{"article": "a", "highlights": "b"}\n')
    assert error_of(path, **nothing) == (
        f"{path}: no column for the source text and none for the target text.\n"
        "Expected a column `source` or `translation`, and a column `target` or `translation`; "
        "found: article, highlights.\n"
        "Name them: data.train[0].columns.source=COLUMN data.train[0].columns.target=COLUMN"
    )


def test_without_languages_a_catalog_may_be_in_any(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text('msgid ""\nmsgstr "Language: de\\n"\n\nmsgid "formal"\nmsgstr "informal"\n')
    (unit,) = read(path, source_language="", target_language="")
    assert (unit.source, unit.targets) == ("formal", ("informal",))


def test_references_in_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,one,two,three\na,b,c,d\ne,f,,\ng,,h,\n")
    found: dict[str, str] = {}
    options: dict[str, Any] = {"columns": {"source": "text", "target": "one"}}
    units = read(path, **options, references=["two", "three"], columns_found=found)
    assert [(unit.source, unit.targets) for unit in units] == [
        ("a", ("b", "c", "d")), ("e", ("f",)), ("g", ("h",)),
    ]  # fmt: skip
    assert found == {str(path): "text → one, two, three"}
    assert error_of(path, **options, references=["tow"]) == (
        f"{path}: no column tow of further references.\n"
        'Did you mean "two"? Known: one, text, three, two.\n'
        "Mend the names in this source's `references`."
    )
