"""Tables in, tables with labels out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attuner.data.labels import LabelSet
from attuner.errors import DataError
from attuner.inference import classified_tables
from attuner.inference.classified_tables import classify_table
from attuner.inference.classifier import Classified


class Says:
    """A classifier that says the same of every text, and notes what it was asked."""

    def __init__(self, labels: LabelSet, said: Classified) -> None:
        self.labels = labels
        self.said = said
        self.asked: list[tuple[list[str], list[str] | None]] = []

    def classify(self, texts: list[str], pairs: list[str] | None = None) -> list[Classified]:
        self.asked.append((texts, pairs))
        return [self.said for _ in texts]


def moods() -> Any:
    said = Classified("good", {"bad": 0.25, "good": 0.75}, (-0.5, 0.6))
    return Says(LabelSet("single", ("bad", "good")), said)


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_rows_keep_their_columns_and_get_new_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "id,review\n1,fine film\n2,\n3,good\n")
    classifier, heard = moods(), []
    with classify_table(
        path, classifier, text="review", progress=lambda *done: heard.append(done)
    ) as table:
        assert table.columns == ["id", "review", "predicted", "probability"]
        assert list(table.rows) == [
            {"id": "1", "review": "fine film", "predicted": "good", "probability": 0.75},
            {"id": "2", "review": "", "predicted": "", "probability": ""},
            {"id": "3", "review": "good", "predicted": "good", "probability": 0.75},
        ]
        assert table.counts == {"no text": 1}
    assert classifier.asked == [(["fine film", "good"], None)]
    assert heard == [(3, 0)]


def test_pairs_and_logits(tmp_path: Path) -> None:
    rows = [{"a": "one", "b": "two", "predicted": "old"}, {"a": "three", "b": None}]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    classifier = moods()
    with classify_table(path, classifier, text="a", text_pair="b", with_logits=True) as table:
        assert table.columns == ["a", "b", "predicted", "probability", "logit bad", "logit good"]
        first, second = table.rows
        assert first == {
            "a": "one", "b": "two", "predicted": "good", "probability": 0.75, "logit bad": -0.5,
            "logit good": 0.6,
        }  # fmt: skip
        assert second["predicted"] == ""
    assert classifier.asked == [(["one"], ["two"])]


def test_several_labels_and_ratings(tmp_path: Path) -> None:
    path = write(tmp_path, "text\na\n")
    several = Classified(("x", "y"), {"x": 0.9, "y": 0.625, "z": 0.1}, (1, 2, 3))
    labels = LabelSet("multi", ("x", "y", "z"))
    with classify_table(path, Says(labels, several), separator="|") as table:  # type: ignore[arg-type]
        (row,) = table.rows
        assert (row["predicted"], row["probability"]) == ("x|y", "0.9000|0.6250")
    rated = Says(LabelSet("rating"), Classified(3.5, {}, (3.5,)))
    with classify_table(path, rated, with_logits=True) as table:  # type: ignore[arg-type]
        assert list(table.rows) == [{"text": "a", "predicted": 3.5, "logit rating": 3.5}]


def test_large_tables_are_read_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classified_tables, "_ROWS_AT_ONCE", 2)
    path = write(tmp_path, "text\n" + "\n".join("abcde"))
    classifier = moods()
    with classify_table(path, classifier) as table:
        assert [row["text"] for row in table.rows] == list("abcde")
    assert [texts for texts, _ in classifier.asked] == [["a", "b"], ["c", "d"], ["e"]]


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "review\nfine\n")
    with pytest.raises(DataError) as caught, classify_table(path, moods()):
        pass
    assert str(caught.value) == (
        f"{path}: no column `text`.\nFound: review.\nName it: task.text=COLUMN"
    )
    path = tmp_path / "a.po"
    with (
        pytest.raises(DataError, match=r'^.*a\.po: unknown suffix "\.po"\.\n'),
        classify_table(path, moods()),
    ):
        pass


def test_bad_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "text,id\nfine,1\na,b,c\n")
    with pytest.raises(DataError) as caught, classify_table(path, moods()) as table:
        list(table.rows)
    assert str(caught.value) == (
        f"{path}:3: 3 values for 2 columns.\n"
        "Every row has as many values as the header has names. Mend it, or set "
        "data.bad_entries=skip (skipped entries are counted)."
    )
    with classify_table(path, moods(), bad_entries="skip") as table:
        assert len(list(table.rows)) == 1
        assert table.counts == {"wrong number of columns": 1}


def test_halves_of_characters(tmp_path: Path) -> None:
    rows = [{"text": "fine", "note": "cut \ud83d"}, {"text": "\ud83d"}, {"text": "good"}]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    with pytest.raises(DataError) as caught, classify_table(path, moods()) as table:
        list(table.rows)
    assert str(caught.value) == (
        f"{path}:1: half a surrogate pair, \\ud83d, in the text.\n"
        f"{path}:2: half a surrogate pair, \\ud83d, in the text.\n"
        "2 bad entries in all.\n"
        "A text consists of whole Unicode characters other than NUL. Mend it, or set "
        "data.bad_entries=skip (skipped entries are counted)."
    )
    with classify_table(path, moods(), bad_entries="skip") as table:
        assert [row["text"] for row in table.rows] == ["good"]
        assert table.counts == {"invalid encoding": 2}
