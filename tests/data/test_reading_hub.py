"""The Hub, without a network: a stand-in for `load_dataset`, or the offline switch."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from attuner.data.labelled import LabelColumns, read_labelled
from attuner.data.reading import find_files, read_units
from attuner.data.units import Unit
from attuner.errors import UserError

EXPECTED = "The configuration, revision and split must exist, in data files, without a script."
REMEDY = "Set data.train[0].config=NAME, data.train[0].revision=NAME or data.train[0].split=NAME."


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Replaces `load_dataset`; what it was called with is in the list."""
    calls: list[Any] = []

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
        calls.append((name, config, split, revision))
        pair = {"en": "one", "fr": "un"} if config in (None, "en-fr") else {"fi": "a", "nl": "b"}
        features = datasets.Features(
            {
                "id": datasets.Value("string"),
                "translation": datasets.Translation(languages=sorted(pair)),
            }
        )
        rows = [{"id": "0", "translation": pair}, {"id": "1", "translation": pair}]
        return datasets.Dataset.from_list(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    return calls


def read(path: str, source: str = "en", target: str = "fr", **options: object) -> list[Unit]:
    languages = {"source_language": source, "target_language": target}
    return list(read_units(path, **languages, **options))  # type: ignore[arg-type]


def error_of(path: str, source: str = "en", target: str = "fr", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, source, target, **options)
    return str(caught.value)


def test_rows_of_a_data_set(asked: list[Any]) -> None:
    units = read("hub:some/data", config="en-fr", revision="main", split="test")
    assert asked == [("some/data", "en-fr", "test", "main")]
    assert [(unit.source, unit.targets) for unit in units] == [("one", ("un",))] * 2
    assert str(units[1].address) == "hub:some/data/en-fr/test: entry 2"
    assert find_files("hub:some/data") == []


@pytest.mark.parametrize("name", ["hub:kde4", "hub:Helsinki-NLP/kde4"])
@pytest.mark.parametrize(
    ("source", "target", "config"),
    [("en", "fr", "en-fr"), ("fr", "en", "en-fr"), ("nl", "fi", "fi-nl")],
)
def test_kde4_by_languages(
    asked: list[Any], name: str, source: str, target: str, config: str
) -> None:
    assert len(read(name, source, target)) == 2
    assert asked == [("Helsinki-NLP/kde4", config, "train", None)]


@pytest.mark.parametrize("options", [{}, {"config": "de-en"}, {"config": "en-de"}])
def test_kde4_pair_that_the_hub_lacks(asked: list[Any], options: dict[str, str]) -> None:
    pair = options.get("config", "de-en")
    assert error_of("hub:kde4", "en", "de", **options) == (
        f"hub:Helsinki-NLP/kde4: the Hub has no pair {pair}, it has: "
        "en-fr, en-it, fi-nl, it-ro, nl-sv.\n"
        "The other pairs are on the OPUS site, as KDE4 Moses zip: de-en.txt.zip\n"
        "Download that file, and pass it as data: path/to/de-en.txt.zip"
    )
    assert asked == []


def test_a_language_that_the_data_set_lacks(asked: list[Any]) -> None:
    assert error_of("hub:some/data", "en", "de") == (
        "hub:some/data/default/train: the column `translation` has no text in de, "
        "it has: en, fr.\n"
        "The target language must be one of these.\n"
        "Choose one of them, as task.target=CODE, or give other data."
    )


def test_a_folder_of_the_same_name_is_not_taken_for_it(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "some" / "data").mkdir(parents=True)
    assert error_of("hub:some/data") == (
        "hub:some/data: there is a folder or file of that name here.\n"
        "After hub: stands the id of a data set on the Hub.\n"
        "For the folder, give some/data without hub:. For the Hub, run in another folder."
    )
    assert asked == []


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            ConnectionError("Couldn't reach 'some/data' on the Hub (OfflineModeIsEnabled)"),
            "hub:some/data: the Hugging Face Hub cannot be reached: "
            "Couldn't reach 'some/data' on the Hub (OfflineModeIsEnabled)\n"
            "A data set of the Hub is fetched on first use and kept in a cache.\n"
            "Check the network and HF_HUB_OFFLINE, or give a folder with the files instead.",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'some/data' doesn't exist."),
            "hub:some/data: Dataset 'some/data' doesn't exist.\n"
            "A data set on the Hub has an id such as Helsinki-NLP/kde4.\n"
            "Check its name; for a private one, log in with: hf auth login",
        ),
        (
            ValueError("BuilderConfig 'x' not found. Available: ['y']\nmore"),
            f"hub:some/data: BuilderConfig 'x' not found. Available: ['y']\n{EXPECTED}\n{REMEDY}",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found kde4.py"),
            "hub:some/data: Dataset scripts are no longer supported, but found kde4.py\n"
            f"{EXPECTED}\n{REMEDY}",
        ),
    ],
)
def test_what_the_hub_answers(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert error_of("hub:some/data") == message


def test_an_impossible_id(asked: list[Any]) -> None:
    assert error_of("hub:no//id").endswith(
        "A data set on the Hub has an id such as Helsinki-NLP/kde4.\n"
        "Check its name; for a private one, log in with: hf auth login"
    )
    assert asked == []


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """Lets `load_dataset` stream the files of a folder; whether it was asked to is in the list."""
    calls: list[bool] = []
    original = datasets.load_dataset
    folder = tmp_path / "files"
    folder.mkdir()
    with gzip.open(folder / "train.jsonl.gz", "wt", encoding="utf-8") as file:
        for n in range(2500):
            row = {"translation": {"en": f"text {n}", "fr": f"texte {n}"}, "label": n % 2}
            file.write(json.dumps(row) + "\n")

    def load(
        name: str, config: str | None, *, split: str, revision: str | None, streaming: bool = False
    ) -> Any:
        calls.append(streaming)
        builder, pattern = ("parquet", "*.parquet") if name == "some/table" else ("json", "*.gz")
        return original(builder, data_files=str(folder / pattern), split=split, streaming=streaming)

    original("json", data_files=str(folder / "*.gz"), split="train").to_parquet(
        folder / "train.parquet"
    )
    monkeypatch.setattr(datasets, "load_dataset", load)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return calls


@pytest.mark.parametrize("name", ["hub:some/table", "hub:some/lines"])
def test_streamed_rows_are_those_of_the_copy(streamed: list[bool], name: str) -> None:
    units = read(name, streaming=True)
    assert len(units) == 2500
    assert units == read(name)
    assert streamed == [True, False]
    assert str(units[2].address) == f"{name}/default/train: entry 3"


@pytest.mark.parametrize("name", ["hub:some/table", "hub:some/lines"])
def test_streamed_labels(streamed: list[bool], name: str) -> None:
    columns = LabelColumns(text="label", label="label")
    skipped: Counter[str] = Counter()
    found = read_labelled(name, columns, streaming=True, bad_entries="skip", skipped=skipped)
    assert list(found) == []
    assert skipped == {"not a text": 2500}
    assert streamed == [True]


def test_a_stream_without_the_columns(streamed: list[bool]) -> None:
    assert error_of("hub:some/lines", "en", "de", streaming=True) == (
        "hub:some/lines/default/train: the column `translation` has no text in de, it has: "
        "en, fr.\n"
        "The target language must be one of these.\n"
        "Choose one of them, as task.target=CODE, or give other data."
    )


def test_a_stream_that_breaks_off_is_said(
    streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        yield from ()
        raise ConnectionError("gone")

    monkeypatch.setattr(datasets.IterableDataset, "iter", broken)
    assert error_of("hub:some/table", streaming=True) == (
        "hub:some/table: the Hugging Face Hub cannot be reached: gone\n"
        "A data set of the Hub is fetched on first use and kept in a cache.\n"
        "Check the network and HF_HUB_OFFLINE, or give a folder with the files instead."
    )
