"""Reading labelled examples: columns, values that are none, what is counted, what is said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from attuner.data.labelled import LabelColumns, LabelledExample, read_labelled
from attuner.data.reading import find_files
from attuner.errors import DataError, UserError


def read(path: Path | str, columns: LabelColumns, **options: Any) -> list[LabelledExample]:
    return list(read_labelled(str(path), columns, **options))


def error_of(path: Path | str, columns: LabelColumns, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, columns, **options)
    return str(caught.value)


ROWS = [{"review": "fine", "stars": 5}, {"review": "poor", "stars": 1}]
REVIEWS = LabelColumns(text="review", label="stars")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_of_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif suffix == "json":
        path.write_text(json.dumps(ROWS))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        separator = "," if suffix == "csv" else "\t"
        lines = [separator.join(map(str, row.values())) for row in ROWS]
        path.write_text("\n".join([separator.join(ROWS[0]), *lines]))
    examples = read(path, REVIEWS)
    assert [(e.text, e.text_pair, e.label) for e in examples] == [
        ("fine", None, "5"),
        ("poor", None, "1"),
    ]
    assert [example.address.unit for example in examples] == ["1", "2"]
    rated = read(path, LabelColumns(text="review", label="stars", kind="rating"))
    assert [example.label for example in rated] == [5.0, 1.0]


def test_pairs_and_several_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,tags\none,two,x|y\nthree,four,\n")
    columns = LabelColumns("a", "b", "tags", "multi", "|")
    assert [(e.text, e.text_pair, e.label) for e in read(path, columns)] == [
        ("one", "two", ("x", "y")),
        ("three", "four", ()),
    ]


def test_rows_without_text_or_label_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[dict[str, Any]] = [
        {"review": "fine", "stars": 5},
        {"review": "  ", "stars": 5},
        {"review": None, "stars": 5},
        {"review": "fine", "stars": None},
        {"review": "fine", "stars": float("nan")},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    skipped: Counter[str] = Counter()
    assert len(read(path, REVIEWS, skipped=skipped)) == 1
    assert skipped == {"empty text": 2, "no label": 2}


def test_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"review": "fine", "stars": "many"}\n{"review": 7, "stars": 1}\n{"review": "fine"}\n'
        '{"review": "a\\u0000b", "stars": 1}\n{"review": "good", "stars": 3}\n'
    )
    columns = LabelColumns(text="review", label="stars", kind="rating")
    assert error_of(path, columns) == (
        f"{path}:1: 'many' where a number should be.\n"
        f"{path}:2: 7 where a text should be.\n"
        f"{path}:3: no value for stars.\n"
        f"{path}:4: NUL character in the text.\n"
        "4 bad entries in all.\n"
        "A rating is a finite number.\n"
        "Texts are strings.\n"
        "Every row needs all columns.\n"
        "A text consists of whole Unicode characters other than NUL. Mend them, or set "
        "data.bad_entries=skip (skipped entries are counted)."
    )
    skipped: Counter[str] = Counter()
    assert len(read(path, columns, bad_entries="skip", skipped=skipped)) == 1
    assert skipped == {
        "not a label": 1, "not a text": 1, "missing column value": 1, "NUL character": 1,
    }  # fmt: skip


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,stars\nfine,5\n")
    assert error_of(path, LabelColumns(text="reviews")) == (
        f"{path}: no column `reviews` and no column `label`.\n"
        "Found: review, stars.\n"
        "Name them: task.text=review task.label=COLUMN"
    )


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text("")
    assert error_of(path, REVIEWS) == (
        f"{path}: not a table.\n"
        "Labelled texts are read from tables: .csv, .tsv, .json, .jsonl, .parquet.\n"
        "Save it as one of them."
    )


def test_a_data_set_of_the_hub_names_its_classes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b", "label": -1}]
    found = datasets.Dataset.from_list(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: found)
    monkeypatch.chdir(tmp_path)
    skipped: Counter[str] = Counter()
    (example,) = read("hub:some/data", LabelColumns(text="sentence"), skipped=skipped)
    assert (example.label, str(example.address)) == (
        "yes",
        "hub:some/data/default/train: entry 1",
    )
    assert skipped == {"no label": 1}


def test_the_splits_of_a_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        row = {"review": split, "stars": 1}
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert [e.text for e in read(tmp_path, REVIEWS, split="test")] == ["test"]


def test_the_embedded_reviews_have_stars_as_their_notice_says() -> None:
    (file,) = find_files("embedded:reviews")
    assert file.stat().st_size < 1_000_000
    assert "The MIT License" in (file.parent / "reviews-NOTICE.txt").read_text()
    columns = LabelColumns("text", None, "stars")
    examples = list(read_labelled("embedded:reviews", columns))
    ratings = list(
        read_labelled("embedded:reviews", LabelColumns("text", None, "rating", "rating"))
    )
    assert len(examples) == 8108
    for example, rated in zip(examples, ratings, strict=True):
        assert isinstance(rated.label, float)
        assert int(str(example.label)) == min(5, int((rated.label + 4) / 1.6) + 1)
    with pytest.raises(DataError) as caught:
        find_files("embedded:review")
    assert str(caught.value) == (
        'There are no embedded data "embedded:review".\n'
        'Did you mean "embedded:reviews"? Known: embedded:reviews.'
    )
