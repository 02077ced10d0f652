"""Whole texts in, whole texts out."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from engines import Echo
from hypothesis import given
from hypothesis import strategies as st
from pairs import PAIRS

from attuner.errors import ModelError, UsageError
from attuner.inference.ctranslate2_engine import CTranslate2Engine
from attuner.inference.settings import GenerationSettings, read_settings
from attuner.inference.transformers_engine import TransformersEngine
from attuner.inference.translator import Translator, choose_engine, load
from attuner.models.codec import load_codec
from attuner.models.languages import Pair
from attuner.models.usage import write_usage


class Shouting(Echo):
    """An engine that writes lines in capitals."""

    def said(self, line: str) -> str:
        return line.upper()

    @property
    def lines(self) -> list[str]:
        return [line for lines, _, _ in self.asked for line in lines]

    @property
    def options(self) -> list[dict[str, Any]]:
        return [options for _, _, options in self.asked]


def test_a_text_gives_a_text_and_a_list_a_list() -> None:
    translator = Translator(Shouting())
    assert translator.translate("open") == "OPEN"
    assert translator.translate(["open", "close"]) == ["OPEN", "CLOSE"]
    assert translator.translate([]) == []


def test_white_space_and_line_breaks_are_put_back() -> None:
    engine = Shouting()
    texts = [" open \n\n\tclose\r\n", "", "   ", "\n", "close", "open"]
    made = Translator(engine).translate(texts)
    assert made == [" OPEN \n\n\tCLOSE\r\n", "", "   ", "\n", "CLOSE", "OPEN"]
    assert sorted(engine.lines) == ["close", "open"]  # each distinct line once


def test_whole_texts_are_never_cut_and_what_is_made_of_them_stands_alone() -> None:
    engine = Shouting()
    translator = Translator(engine, whole_texts=True)
    made = translator.translate([" open\n\nclose \n", "close", "  "])
    assert made == ["OPEN\n\nCLOSE", "CLOSE", "  "]
    assert engine.lines == ["open\n\nclose", "close"]


def test_a_model_that_learned_long_texts_is_given_them() -> None:
    engine = Shouting()
    Translator(engine, max_source_tokens=1024).translate("a", num_beams=1)
    assert engine.options[0]["max_source_tokens"] == 1024


def test_languages_are_told_to_the_engine_where_given() -> None:
    engine = Shouting()
    Translator(engine, target="de").translate("a", source="en")
    Translator(engine).translate("a", source="en", target="fr")
    Translator(engine).translate("a")
    assert [told for _, told, _ in engine.asked] == [Pair("en", "de"), Pair("en", "fr"), Pair()]


@given(st.text())
def test_nothing_is_lost_around_the_lines(text: str) -> None:
    assert Translator(Echo()).translate(text) == text


def test_defaults_come_from_the_checkpoint() -> None:
    engine = Shouting()
    translator = Translator(engine, settings=GenerationSettings(num_beams=6))
    translator.translate("a")
    translator.translate("a", num_beams=1, max_new_tokens=9)
    assert engine.options == [
        {"num_beams": 6, "max_new_tokens": 128},
        {"num_beams": 1, "max_new_tokens": 9},
    ]


def test_progress_counts_distinct_lines() -> None:
    seen: list[tuple[int, int]] = []
    texts = [str(i // 2) for i in range(1000)]
    Translator(Shouting()).translate(texts, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 500), (500, 500)]


def test_load_a_folder_and_a_run(marian: Path, cache: Path, tmp_path: Path) -> None:
    translator = load(marian)
    assert isinstance(translator.engine, CTranslate2Engine)
    assert translator.settings.num_beams == 2
    assert translator.translate(" Open the file\nDelete file?") == (
        " Ouvrir le fichier\nSupprimer le fichier ?"
    )
    run = tmp_path / "runs/kde"
    shutil.copytree(marian, run / "model")
    assert load(run).translate("Open the file") == "Ouvrir le fichier"
    reference = load(str(run), engine="transformers")
    assert isinstance(reference.engine, TransformersEngine)
    assert reference.translate("Open the file") == "Ouvrir le fichier"


@pytest.mark.parametrize("engine", ["ctranslate2", "transformers"])
def test_the_end_token_alone(marian: Path, cache: Path, engine: str) -> None:
    assert load(marian, engine=engine).translate("Open the file", max_new_tokens=1) == ""


def test_texts_are_as_long_as_the_checkpoint_wants_them(
    marian: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "long"
    shutil.copytree(marian, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "min_length": 14}))
    engines = [load(folder, engine=name).engine for name in ("ctranslate2", "transformers")]
    for beams, most, least in ((1, 40, 13), (4, 40, 13), (1, 6, 5)):
        ours, theirs = (
            [len(best.token_ids) for (best,) in engine.generate(
                list(PAIRS), num_beams=beams, max_new_tokens=most
            )]
            for engine in engines
        )  # fmt: skip
        assert min(ours) >= least
        assert min(theirs) >= least
        assert beams > 1 or ours == theirs


@pytest.mark.parametrize("option", ["num_beams", "max_new_tokens"])
@pytest.mark.parametrize("number", [0, -1])
def test_a_search_of_no_width_or_length(option: str, number: int) -> None:
    options: dict[str, Any] = {option: number}
    with pytest.raises(UsageError) as caught:
        Translator(Shouting()).translate("open", **options)
    assert str(caught.value) == f"{option} is {number}.\nExpected a whole number from 1."


def test_lines_that_are_cut_are_counted(
    marian: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    translator = load(marian)  # it has positions for 64 tokens
    assert translator.translate("Open the file") == "Ouvrir le fichier"
    translator.translate(["Open the file", "Open the file " * 30, "Delete file?"])
    assert [message for message in caplog.messages if "left out" in message] == [
        "1 of 3 lines have more than 64 tokens: what is beyond was left out"
    ]


def test_translations_that_end_at_their_limit_are_counted(
    marian: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(marian).translate(["Open the file", "Open the file"], max_new_tokens=2)
    assert caplog.messages == [
        "what was made of 1 of 1 lines has 2 tokens, the most that it may have: it may be broken "
        "off (max_new_tokens)"
    ]


@pytest.mark.parametrize("engine", ["ctranslate2", "transformers"])
def test_a_folder_says_how_it_wants_to_be_used(
    marian: Path, cache: Path, tmp_path: Path, engine: str
) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(marian, folder)
    write_usage(load_codec(folder).with_prefix("Open "), folder, whole_texts=True)
    translator = load(folder, engine=engine)
    assert translator.translate(" the\nfile ") == "Ouvrir le fichier"


def test_a_family_that_ctranslate2_lacks_goes_to_transformers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="attuner")
    (tmp_path / "config.json").write_text('{"model_type": "prophetnet"}')
    assert choose_engine(tmp_path) == "transformers"
    assert caplog.messages == [
        "CTranslate2 does not support prophetnet models: transformers generates"
    ]
    for family in ("marian", "m2m_100", "mbart", "bart", "t5", "pegasus"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        assert choose_engine(tmp_path) == "ctranslate2"


def test_what_ctranslate2_cannot_convert_goes_to_transformers(
    marian: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*args: Any) -> None:
        raise KeyError("new_activation")

    monkeypatch.setattr("attuner.inference.conversion._marian_spec", unknown)
    translator = load(marian)
    assert isinstance(translator.engine, TransformersEngine)
    assert translator.translate("Open the file") == "Ouvrir le fichier"
    assert caplog.messages == [
        "CTranslate2 cannot convert this marian model: 'new_activation': transformers generates"
    ]
    with pytest.raises(ModelError) as caught:
        load(marian, engine="ctranslate2")
    assert str(caught.value) == (
        "CTranslate2 cannot convert this marian model: 'new_activation'.\n"
        "A model of the layout that its published checkpoints have.\n"
        "Use the transformers engine: generation.engine=transformers in a recipe, "
        "--engine transformers with attuner evaluate."
    )


def test_the_families_are_those_of_ctranslate2() -> None:
    from ctranslate2.converters.transformers import _MODEL_LOADERS

    from attuner.inference.conversion import CONVERTIBLE

    assert set(CONVERTIBLE.values()) <= set(_MODEL_LOADERS)


def test_an_unknown_engine() -> None:
    with pytest.raises(UsageError) as caught:
        load("embedded:en-fr", engine="ctranslate")
    assert str(caught.value) == (
        'There is no engine "ctranslate".\n'
        'Did you mean "ctranslate2"? Known: auto, ctranslate2, transformers.'
    )


def test_an_unknown_quantization() -> None:
    with pytest.raises(UsageError) as caught:
        load("embedded:en-fr", quantization="int9")
    assert str(caught.value) == (
        'There is no quantization "int9".\nDid you mean "int8"? Known: float32, int8.'
    )


def test_a_pickle_is_refused(marian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(marian, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin, which is a pickle"):
        load(folder)


def test_settings_are_read_where_checkpoints_keep_them(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == GenerationSettings()
    # Checkpoints of old have them in config.json.
    config = {"num_beams": 6, "bad_words_ids": [[7]], "max_position_embeddings": 512}
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = GenerationSettings(num_beams=6, bad_words_ids=((7,),), max_position_embeddings=512)
    assert read_settings(tmp_path) == expected
    (tmp_path / "generation_config.json").write_text('{"num_beams": null, "length_penalty": 0.5}')
    assert read_settings(tmp_path).length_penalty == 0.5
    assert read_settings(tmp_path).num_beams == 4
