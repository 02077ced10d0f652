"""A learned vocabulary: read alike by all, the padding token last, its faults in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attuner.errors import DataError, ModelError
from attuner.models.codec import MarianCodec, load_codec
from attuner.models.vocabulary import learn_vocabulary, with_token_ids

LINES = [
    "Open the file", "Ouvrir le fichier", "Close all windows", "Fermer toutes les fenêtres",
    "Delete %1?", "Supprimer\u00a0%1\u202f?", "Press <pad> to end the text </s>",
]  # fmt: skip
OPTIONS: dict[str, Any] = {
    "size": 60,
    "character_coverage": 1.0,
    "byte_fallback": False,
    "normalisation": "identity",
    "source_language": "en",
    "target_language": "fr",
    "max_tokens": 64,
}
# Characters that the lines lack, edge white space, what only looks like a special token.
ODD = ["", " ", "漢字", "  Open\u00a0the file… ", "e\u0301", "🙂", "x" * 200]


def learn(folder: Path, lines: list[str] = LINES, **options: Any) -> dict[str, int]:
    """The ids of a vocabulary learned into `folder`."""
    folder.mkdir(exist_ok=True)
    num_pieces = learn_vocabulary(lines * 3, folder, **{**OPTIONS, **options})
    ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert len(ids) == num_pieces + 1
    return ids


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize(
    "options", [{}, {"normalisation": "nmt_nfkc"}, {"byte_fallback": True, "size": 400}]
)
def test_all_tokenizers_give_the_same_ids(tmp_path: Path, options: dict[str, Any]) -> None:
    from transformers import AutoTokenizer, MarianTokenizer

    learn(tmp_path, **options)
    codec = load_codec(tmp_path)
    assert isinstance(codec, MarianCodec)
    texts = [*LINES[:-1], *ODD]
    expected = codec.encode_source(texts).to_lists()
    assert codec.encode_target(texts).to_lists() == expected
    for theirs in (
        MarianTokenizer.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    ):
        assert theirs(texts)["input_ids"] == expected
        assert theirs(text_target=texts)["input_ids"] == expected
        assert theirs.batch_decode(expected, skip_special_tokens=True) == codec.decode(expected)
        assert (theirs.eos_token_id, theirs.unk_token_id, theirs.pad_token_id) == (
            codec.eos_token_id, codec.unk_token_id, codec.pad_token_id,
        )  # fmt: skip


def test_the_ids_lie_as_in_published_checkpoints(tmp_path: Path) -> None:
    ids = learn(tmp_path)
    assert (ids["</s>"], ids["<unk>"], ids["<pad>"]) == (0, 1, len(ids) - 1)
    assert sorted(ids.values()) == list(range(len(ids)))
    assert (tmp_path / "source.spm").read_bytes() == (tmp_path / "target.spm").read_bytes()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (settings["source_lang"], settings["target_lang"]) == ("en", "fr")
    assert settings["model_max_length"] == 64


def test_the_same_lines_give_the_same_files(tmp_path: Path) -> None:
    learn(tmp_path / "one")
    learn(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_what_the_options_do(tmp_path: Path) -> None:
    plain = load_codec(make(tmp_path / "plain"))
    united = load_codec(make(tmp_path / "united", normalisation="nmt_nfkc"))
    spelled = load_codec(make(tmp_path / "spelled", byte_fallback=True, size=400))
    text = "Supprimer\u00a0%1\u202f? 🙂"
    assert plain.decode(plain.encode_target([text])) == ["Supprimer\u00a0%1\u202f?"]
    assert united.decode(united.encode_target([text])) == ["Supprimer %1 ?"]
    assert spelled.decode(spelled.encode_target([text])) == [text]
    rare = ["Open the file", "Close all windows"] * 50 + ["☃"]
    assert "☃" in learn(tmp_path / "all", rare)
    assert "☃" not in learn(tmp_path / "most", rare, character_coverage=0.99)


def make(folder: Path, **options: Any) -> Path:
    learn(folder, **options)
    return folder


def test_small_data_give_a_smaller_vocabulary(tmp_path: Path) -> None:
    assert 40 < len(learn(tmp_path, size=8000)) < 200


def test_a_size_below_the_number_of_characters(tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(DataError) as caught:
        learn(tmp_path, size=20)
    assert str(caught.value) == (
        "model.vocabulary.size=20 is too small: the characters of the training texts alone need "
        "32 pieces.\n"
        "Expected room for each character and for pieces of several, such as 8000.\n"
        "Set model.vocabulary.size=8000, or a lower model.vocabulary.character_coverage."
    )
    assert capfd.readouterr() == ("", "")


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        learn(tmp_path, ["</s>"])
    assert caught.value.happened.startswith(
        "No vocabulary can be learned from the training texts: "
    )
    assert caught.value.remedy == (
        "Look at the data: attuner check. Or give a tokenizer: model.tokenizer=FOLDER"
    )


def test_token_ids_of_a_configuration_follow_from_the_vocabulary(tmp_path: Path) -> None:
    ids = learn(tmp_path)
    pad = ids["<pad>"]
    assert with_token_ids({"model_type": "marian", "eos_token_id": 0}, tmp_path) == {
        "model_type": "marian",
        "vocab_size": pad + 1,
        "decoder_vocab_size": pad + 1,
        "pad_token_id": pad,
        "eos_token_id": 0,
        "bos_token_id": None,
        "decoder_start_token_id": pad,
        "forced_eos_token_id": 0,
    }


def test_a_configuration_that_contradicts_the_vocabulary(tmp_path: Path) -> None:
    pad = learn(tmp_path)["<pad>"]
    with pytest.raises(ModelError) as caught:
        with_token_ids({"vocab_size": 32000, "pad_token_id": 1, "eos_token_id": 0}, tmp_path)
    assert str(caught.value) == (
        "model.config has vocab_size=32000, pad_token_id=1.\n"
        "The vocabulary learned from the training texts has "
        f"vocab_size={pad + 1}, pad_token_id={pad}.\n"
        "Leave them out of model.config: the vocabulary says."
    )
