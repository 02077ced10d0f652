"""Broken JSON in a model folder is named, whichever file it is in and whoever reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from attuner.errors import ModelError
from attuner.inference.settings import read_settings
from attuner.inference.translator import load
from attuner.models.json_files import read_json_object
from attuner.models.loading import load_seq2seq, model_type, resolve_model
from attuner.models.usage import folder_languages

BROKEN = (
    "{file}: not readable as JSON: Expecting property name enclosed in double quotes: "
    "line 1 column 2 (char 1).\n"
    "Copy the file again from the checkpoint that the model was made from."
)
NO_OBJECT = (
    "{file} holds a JSON value of type list.\n"
    "The files of a model folder hold JSON objects, {{...}}.\n"
    "Copy the file again from the checkpoint that the model was made from."
)


@pytest.fixture
def folder(marian: Path, tmp_path: Path) -> Path:
    shutil.copytree(marian, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(("content", "said"), [("{", BROKEN), ("[]", NO_OBJECT)])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_model_with_a_broken_configuration(
    folder: Path, name: str, content: str, said: str
) -> None:
    (folder / name).write_text(content)
    for use in (load, read_settings, lambda path: resolve_model(str(path))):
        with pytest.raises(ModelError) as caught:
            use(folder)
        assert str(caught.value) == said.format(file=folder / name)


@pytest.mark.parametrize(("content", "said"), [("{", BROKEN), ("[]", NO_OBJECT)])
@pytest.mark.parametrize(
    ("name", "use"), [("config.json", model_type), ("tokenizer_config.json", folder_languages)]
)
def test_what_reads_a_single_file(
    tmp_path: Path, name: str, use: object, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError) as caught:
        use(tmp_path)  # type: ignore[operator]
    assert str(caught.value) == said.format(file=tmp_path / name)


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert read_json_object(tmp_path / "absent.json") == {}


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ModelError) as caught:
        read_json_object(file)
    assert str(caught.value) == (
        f"{file}: not readable as JSON: 'utf-8' codec can't decode byte 0xff in position 7: "
        "invalid start byte.\n"
        "Copy the file again from the checkpoint that the model was made from."
    )


def test_a_foreign_error_without_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", fail)
    with pytest.raises(ModelError) as caught:
        load_seq2seq(folder)
    assert str(caught.value) == (
        f"{folder} cannot be loaded: RuntimeError\n"
        "Expected an encoder-decoder model that transformers' AutoModelForSeq2SeqLM loads."
    )
