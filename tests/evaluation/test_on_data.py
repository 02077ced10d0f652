"""Scoring a model on a file: languages, what is scored."""

import json
from pathlib import Path

import pytest
from engines import Echo

from attuner.errors import DataError, UsageError
from attuner.evaluation.on_data import evaluate_data
from attuner.inference import translator
from attuner.inference.translator import Translator
from attuner.models import loading
from attuner.models.usage import folder_languages


class Parrot(Echo):
    """An engine that knows one word."""

    name = "parrot"

    def said(self, line: str) -> str:
        return "Fichier"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loading, "resolve_model", lambda model: tmp_path)
    monkeypatch.setattr(translator, "load", lambda model, **options: Translator(Parrot()))
    (tmp_path / "pairs.csv").write_text("en,fr\nFile,Fichier\nFile,Fichier\nOpen,Ouvrir\n,\n")
    return tmp_path


def test_languages_of_the_model(folder: Path) -> None:
    settings = {"source_lang": "en", "target_lang": "fr"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert folder_languages(folder) == ("en", "fr")
    found = evaluate_data("model", str(folder / "pairs.csv"))
    assert found.predictions == ["Fichier"] * 3  # duplicates count, as they stand in the file
    assert 0 < found.scores["chrf"] < 100
    assert found.counts == {
        "read": {str(folder / "pairs.csv"): 4},
        "skipped": {"untranslated": 1},
        "scored": {"entries": 3},
    }
    assert (found.engine, found.num_beams, found.max_new_tokens) == ("parrot", 4, 128)


def test_languages_that_are_given(folder: Path) -> None:
    assert len(evaluate_data("m", str(folder / "pairs.csv"), source="en", target="fr").scores) == 2


def test_languages_unknown(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate_data("model", str(folder / "pairs.csv"), source="en")
    assert str(caught.value) == (
        "model does not say which languages it translates.\n"
        "The data need the languages that are to be scored.\n"
        'Give them: source="en" target="fr"'
    )


def test_nothing_to_score(folder: Path) -> None:
    path = folder / "empty.csv"
    path.write_text("en,fr\nFile,\nOpen,\n,x\n")
    with pytest.raises(DataError) as caught:
        evaluate_data("m", path, source="en", target="fr")
    assert str(caught.value) == (
        f"{path}: no pair is left to score: 3 entries were read and all were skipped "
        "(2 untranslated, 1 empty source).\n"
        "Scores need entries that have a source text and a finished translation.\n"
        "Name other data."
    )
    path.write_text("en,fr\n")
    with pytest.raises(DataError) as caught:
        evaluate_data("m", path, source="en", target="fr")
    assert str(caught.value).startswith(f"{path}: no pair is left to score: no entry was found.\n")


def test_columns_and_encoding(folder: Path) -> None:
    path = folder / "named.csv"
    path.write_bytes("english,french\nFile,caf\u00e9\n".encode("cp1252"))
    found = evaluate_data(
        "m", path, source="en", target="fr", source_column="english", target_column="french",
        encoding="cp1252",
    )  # fmt: skip
    assert found.counts["scored"] == {"entries": 1}


def test_bad_entries_are_counted_where_asked(folder: Path) -> None:
    path = folder / "broken.csv"
    path.write_text("en,fr\nFile,Fichier\nOpen,Ouvrir,x\n")
    with pytest.raises(DataError) as caught:
        evaluate_data("m", path, source="en", target="fr")
    assert str(caught.value) == (
        f"{path}:3: 3 values for 2 columns.\n"
        "Every row has as many values as the header has names. Mend it, or set "
        'bad_entries="skip" (skipped entries are counted).'
    )
    found = evaluate_data("m", path, source="en", target="fr", bad_entries="skip")
    assert found.counts["skipped"] == {"wrong number of columns": 1}
