"""What a model folder says of its languages, and that transformers reads the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import ENGLISH, KINDS, write_checkpoint

from attuner.errors import ModelError
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq, save_model
from attuner.models.usage import (
    Usage,
    folder_languages,
    load_codec_between,
    read_usage,
    set_languages,
    write_usage,
)

MULTILINGUAL = ["m2m100", "nllb", "mbart", "mbart50"]


def tuned(kind: str, folder: Path, *, prefix: str | None = None) -> Path:
    """The folder that a run on a checkpoint of the kind delivers, as far as languages go."""
    origin = write_checkpoint(kind, folder / "origin")
    codec = load_codec_between(origin, "en", "fr", prefix)
    model = load_seq2seq(origin)
    set_languages(model, codec)
    save_model(model, origin, folder / "model")
    write_usage(codec, folder / "model")
    return folder / "model"


@pytest.mark.parametrize("kind", KINDS)
def test_a_delivered_folder_knows_its_languages(kind: str, tmp_path: Path) -> None:
    folder = tuned(kind, tmp_path)
    known = KINDS[kind]
    assert read_usage(folder) == Usage("en", "fr", known.prefix)
    assert folder_languages(folder) == ("en", "fr")
    wanted = load_codec(tmp_path / "origin").between("en", "fr")
    codec = load_codec_between(folder)
    assert codec.pair == wanted.pair
    assert codec.source_prefix == wanted.source_prefix
    assert codec.forced_bos_token_id == wanted.forced_bos_token_id
    assert codec.encode_source(ENGLISH).to_lists() == wanted.encode_source(ENGLISH).to_lists()


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_tokenizer_only_the_languages_are_written(kind: str, tmp_path: Path) -> None:
    folder, origin = tuned(kind, tmp_path), tmp_path / "origin"
    config = "tokenizer_config.json"
    names = {path.name for path in origin.iterdir()} - {"config.json", "generation_config.json"}
    for name in names - {config, "model.safetensors"}:
        assert (folder / name).read_bytes() == (origin / name).read_bytes()
    before, after = (json.loads((place / config).read_text()) for place in (origin, folder))
    if kind in MULTILINGUAL:
        languages = {"src_lang": KINDS[kind].source, "tgt_lang": KINDS[kind].target}
        assert after == {**before, **languages}
    else:
        assert (folder / config).read_bytes() == (origin / config).read_bytes()


@pytest.mark.parametrize("kind", MULTILINGUAL)
def test_generation_starts_as_the_configuration_says(kind: str, tmp_path: Path) -> None:
    folder = tuned(kind, tmp_path)
    generation = json.loads((folder / "generation_config.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    language = load_codec(folder)._codes[KINDS[kind].target]  # type: ignore[attr-defined]
    assert config.get("forced_bos_token_id") is None  # transformers 5 reads the other file
    if kind == "mbart":
        assert config["decoder_start_token_id"] == language
        assert generation["decoder_start_token_id"] == language
        assert generation.get("forced_bos_token_id") is None
    else:
        assert generation["forced_bos_token_id"] == language
        assert generation["decoder_start_token_id"] == 2


def test_a_language_that_an_old_configuration_forces_is_replaced(tmp_path: Path) -> None:
    origin = write_checkpoint("mbart50", tmp_path / "origin")
    codec = load_codec(origin).between("en", "fr")
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((origin / name).read_text())
        other = load_codec(origin).between("fr", "en").forced_bos_token_id
        (origin / name).write_text(json.dumps({**settings, "forced_bos_token_id": other}))
    model = load_seq2seq(origin)
    set_languages(model, codec)
    save_model(model, origin, tmp_path / "model")
    forced = [
        json.loads((tmp_path / "model" / name).read_text()).get("forced_bos_token_id")
        for name in ("config.json", "generation_config.json")
    ]
    assert forced == [None, codec.forced_bos_token_id]


@pytest.mark.parametrize("kind", ["t5", "madlad", "mt5"])
def test_words_of_ones_own_are_kept(kind: str, tmp_path: Path) -> None:
    folder = tuned(kind, tmp_path, prefix="now: ")
    token = "<2fr> " if kind == "madlad" else ""
    assert read_usage(folder) == Usage("en", "fr", f"{token}now: ")
    assert load_codec_between(folder).source_prefix == f"{token}now: "
    assert load_codec_between(folder, "en", "pt").source_prefix.endswith("now: ")
    assert load_codec_between(folder, prefix="").source_prefix == token


def test_the_familys_words_follow_the_languages(tmp_path: Path) -> None:
    folder = tuned("t5", tmp_path)
    prefix = load_codec_between(folder, "en", "de").source_prefix
    assert prefix == "translate English to German: "
    assert load_codec_between(folder, prefix="").source_prefix == ""


def test_a_published_checkpoint_may_say_what_it_translates_into(tmp_path: Path) -> None:
    origin = write_checkpoint("mbart50", tmp_path)
    assert load_codec_between(origin).pair.target_code is None
    forced = load_codec(origin).between("de", "en").forced_bos_token_id
    generation = json.loads((origin / "generation_config.json").read_text())
    (origin / "generation_config.json").write_text(
        json.dumps({**generation, "forced_bos_token_id": forced})
    )
    assert load_codec_between(origin, source="de").pair.target_code == "en_XX"


def test_one_of_many_languages_is_not_guessed(tmp_path: Path) -> None:
    # Its tokenizer says that it translates into "ROMANCE".
    origin = write_checkpoint("marian-multi", tmp_path)
    assert load_codec_between(origin).pair.target_code is None
    assert load_codec_between(origin, target="fr").source_prefix == ">>fra<< "


def test_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "attuner.json").write_text("[]")
    with pytest.raises(ModelError, match=r"attuner\.json holds a JSON value of type list"):
        read_usage(tmp_path)


def test_a_folder_remembers_that_texts_are_whole(tmp_path: Path) -> None:
    codec = load_codec(write_checkpoint("t5", tmp_path)).with_prefix("résume : ")
    write_usage(codec, tmp_path, whole_texts=True, max_source_tokens=512)
    assert read_usage(tmp_path) == Usage(None, None, "résume : ", True, 512)
    assert load_codec_between(tmp_path).source_prefix == "résume : "


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    assert read_usage(tmp_path) is None


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "attuner.json").write_text('{"prefix": "a", "unheard_of": 1}')
    assert read_usage(tmp_path) == Usage(prefix="a")


def test_a_value_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "attuner.json").write_text('{"whole_texts": "yes"}')
    with pytest.raises(ModelError) as caught:
        read_usage(tmp_path)
    assert str(caught.value) == (
        f'{tmp_path}/attuner.json: whole_texts is "yes".\n'
        "Expected a value such as false.\n"
        "Copy the file again from the run that made the model, or delete it."
    )
