"""Scoring a model on a file: languages, what is scored."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from attuner.errors import UsageError
from attuner.evaluation.on_data import evaluate_data, model_languages
from attuner.inference import translator
from attuner.inference.translator import Translator
from attuner.models import loading


class Parrot:
    """An engine that knows one word."""

    name = "parrot"

    def generate(self, lines: list[str], **options: object) -> list[list[SimpleNamespace]]:
        return [[SimpleNamespace(text="Fichier")] for _ in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loading, "resolve_model", lambda model: tmp_path)
    monkeypatch.setattr(translator, "load", lambda model: Translator(Parrot()))  # type: ignore[arg-type]
    (tmp_path / "pairs.csv").write_text("en,fr\nFile,Fichier\nFile,Fichier\nOpen,Ouvrir\n,\n")
    return tmp_path


def test_languages_of_the_model(folder: Path) -> None:
    settings = {"source_lang": "en", "target_lang": "fr"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert model_languages(folder) == ("en", "fr")
    found = evaluate_data("model", str(folder / "pairs.csv"))
    assert found.predictions == ["Fichier"] * 3  # duplicates count, as they stand in the file
    assert 0 < found.scores["chrf"] < 100


def test_languages_that_are_given(folder: Path) -> None:
    assert len(evaluate_data("m", str(folder / "pairs.csv"), source="en", target="fr").scores) == 2


def test_languages_unknown(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate_data("model", str(folder / "pairs.csv"), source="en")
    assert str(caught.value) == (
        "model does not say which languages it translates.\n"
        "The data need the languages that are to be scored.\n"
        "Give them: --source en --target fr"
    )
