"""What `attuner classify` writes of tables."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from attuner import classified_output
from attuner.classified_output import write_table
from attuner.data.labels import LabelSet
from attuner.inference.classifier import Classified


class _Says:
    """A classifier that says the same of every text."""

    labels = LabelSet("single", ("bad", "good"))

    def classify(self, texts: list[str], pairs: list[str] | None = None) -> list[Classified]:
        said = Classified("good", {"bad": 0.25, "good": 0.7512345678}, (-1.23456789, 0.5))
        return [said for _ in texts]


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the row that is written as CSV for one with these values."""
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setattr(classified_output, "resolve_model", lambda model: tmp_path)

    def written(**values: Any) -> dict[str, str]:
        table = pa.table({name: [value] for name, value in {"text": "fine", **values}.items()})
        parquet.write_table(table, tmp_path / "a.parquet")
        file = io.StringIO()
        write_table(
            tmp_path / "a.parquet", _Says(), "model", file,  # type: ignore[arg-type]
            text=None, text_pair=None, logits=True, as_json=False, encoding="utf-8",
            bad_entries="fail",
        )  # fmt: skip
        (row,) = csv.DictReader(io.StringIO(file.getvalue()))
        return row

    return written


def test_numbers_of_the_table_stay_as_they_are(labelled: Any) -> None:
    row = labelled(price=1234567.89, share=0.1234567890123)
    assert (row["price"], row["share"]) == ("1234567.89", "0.1234567890123")
    assert (row["predicted"], row["probability"]) == ("good", "0.751235")
    assert (row["logit bad"], row["logit good"]) == ("-1.23457", "0.5")


def test_lists_hold_what_json_has_no_word_for(labelled: Any) -> None:
    assert labelled(days=[date(2026, 1, 2)])["days"] == '["2026-01-02"]'
