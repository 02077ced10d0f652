"""Languages as each family's own tokenizer marks them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import ENGLISH, FRENCH, KINDS, plain_tokenizer, write_tokenizer

from attuner.errors import ModelError
from attuner.models.codec import TextCodec, load_codec

# Kinds whose vocabulary tells languages apart, and how many.
MULTILINGUAL = {
    "marian-multi": 3,
    "m2m100": 100,
    "nllb": 202,
    "mbart": 25,
    "mbart50": 52,
    "madlad": 4,
}


def folder_of(kind: str, folder: Path) -> Path:
    write_tokenizer(kind, folder)
    config = {"model_type": KINDS[kind].model_type}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def codec_of(kind: str, folder: Path) -> TextCodec:
    return load_codec(folder_of(kind, folder))


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_those_of_the_familys_tokenizer(kind: str, tmp_path: Path) -> None:
    codec = codec_of(kind, tmp_path)
    theirs = plain_tokenizer(tmp_path, kind)
    known = KINDS[kind]
    made = codec.between("en", "fr")
    texts = [*ENGLISH, "", "漢字 Open", "Ouvrir\u00a0: é", "  a  b "]
    prefixed = [known.prefix + text for text in texts]
    assert made.encode_source(texts).to_lists() == theirs(prefixed)["input_ids"]
    expected = theirs(text_target=texts)["input_ids"]
    if kind == "mbart":  # its decoder starts with the language, so that none follows the end
        language = theirs.convert_tokens_to_ids("fr_XX")
        assert {row.pop() for row in expected} == {language} == {made.decoder_start_token_id}
    assert made.encode_target(texts).to_lists() == expected
    assert made.source_prefix == known.prefix
    assert made.decode(made.encode_target(FRENCH).to_lists()) == theirs.batch_decode(
        theirs(text_target=FRENCH)["input_ids"],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_languages_come_from_the_tokenizer(kind: str, tmp_path: Path) -> None:
    codec = codec_of(kind, tmp_path)
    assert len(codec.languages) == MULTILINGUAL.get(kind, 0)
    made, known = codec.between("en", "fr"), KINDS[kind]
    assert (made.pair.source, made.pair.target) == ("en", "fr")
    assert made.pair.source_code == (known.source or None)
    assert made.pair.target_code == (known.target or None)
    forced = known.source and kind != "mbart"
    assert (made.forced_bos_token_id is not None) == bool(forced)
    if forced:
        assert made.encode_target([""]).to_lists()[0][0] == made.forced_bos_token_id
    if known.target:  # the family's own spelling
        assert codec.between(known.source or "en", known.target).pair.target_code == known.target


@pytest.mark.parametrize("kind", ["marian-multi", "nllb", "madlad", "t5"])
def test_codecs_of_several_pairs_share_a_tokenizer(kind: str, tmp_path: Path) -> None:
    codec = codec_of(kind, tmp_path)
    french, other = codec.between("en", "fr"), codec.between("en", "pt")
    ids = [c.encode_source(["Open"]).to_lists() for c in (french, other, french)]
    assert ids[0] == ids[2]
    if kind != "nllb":
        assert ids[0] != ids[1]
    targets = [c.encode_target(["Open"]).to_lists() for c in (french, other, french)]
    assert targets[0] == targets[2]
    assert (targets[0] != targets[1]) == (kind == "nllb")
    assert codec.pair.target is None


@pytest.mark.parametrize("kind", MULTILINGUAL)
def test_an_unknown_language_is_refused(kind: str, tmp_path: Path) -> None:
    codec = codec_of(kind, tmp_path)
    with pytest.raises(ModelError) as error:
        codec.between("en", "tlh")
    assert str(error.value).startswith(
        'The checkpoint does not know the target language "tlh".\n'
        "Expected a code such as en, pt-BR or zh-Hans of one of its "
        f"{len(codec.languages)} languages."
    )


def test_both_languages_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        codec_of("nllb", tmp_path).between(None, "fr")
    assert str(error.value) == (
        "The checkpoint was not told the source language.\n"
        "It marks source and target with one of 202 languages each.\n"
        "Give it as a code such as en or pt-BR: --source on the command line, source= in Python, "
        "task.source in a recipe."
    )


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("marian-multi", ">>fra<< now: "), ("madlad", "<2fr> now: "), ("t5", "now: "),
        ("mt5", "now: "), ("nllb", "now: "),
    ],
)  # fmt: skip
def test_words_of_ones_own_take_the_place_of_the_familys(
    kind: str, prefix: str, tmp_path: Path
) -> None:
    codec = codec_of(kind, tmp_path).between("en", "fr")
    made = codec.with_prefix("now: ")
    assert made.source_prefix == prefix
    plain = codec.with_prefix("").encode_source(["now: Open"])
    assert made.encode_source(["Open"]).to_lists() == plain.to_lists()
    assert made.between("en", "pt").source_prefix.endswith("now: ")


def test_a_text_that_brings_its_language_keeps_it(tmp_path: Path) -> None:
    codec = codec_of("marian-multi", tmp_path)
    texts = [">>oci<< Open", "Open"]
    ids = codec.between("en", "fr").encode_source(texts).to_lists()
    assert ids[0] == codec.encode_source(texts).to_lists()[0]
    assert ids[1] == codec.encode_source([">>fra<< Open"]).to_lists()[0]


@pytest.mark.parametrize("kind", ["m2m100", "nllb", "bart"])
def test_special_tokens_in_a_text_are_text(kind: str, tmp_path: Path) -> None:
    codec = codec_of(kind, tmp_path).between("en", "fr")
    token = {"m2m100": "__fr__", "nllb": "fra_Latn", "bart": "<s>"}[kind]
    for text in (f"a </s> b {token} c", f"{token}"):
        row = codec.encode_target([text]).to_lists()[0]
        assert row.count(codec.eos_token_id) == 1
        assert row.count(row[0]) == 1  # the language, or BART's own <s>


def test_nllb_that_puts_the_language_last(tmp_path: Path) -> None:
    folder = folder_of("nllb", tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "legacy_behaviour": True})
    )
    made, theirs = load_codec(folder).between("en", "fr"), plain_tokenizer(folder, "nllb")
    assert made.encode_source(ENGLISH).to_lists() == theirs(ENGLISH)["input_ids"]
    # The decoder is forced to begin with the language: so must what it learns from.
    (row,) = made.encode_target(["Open"]).to_lists()
    assert row[0] == made.forced_bos_token_id
    assert row[-1] == made.eos_token_id
