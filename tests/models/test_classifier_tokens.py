"""Token ids of texts and pairs, beside those of transformers' own tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_classifiers import write_encoder
from transformers import AutoTokenizer

from attuner.errors import ModelError
from attuner.models import classifier_tokens
from attuner.models.classifier_tokens import ClassifierTokens

TEXTS = ["a good film .", "not so good", "unseen words", ""] * 5
PAIRS = ["the book is red , it was", "bad", "", "a film"] * 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("max_tokens", [5, 9, 64])
def test_texts_and_pairs_as_the_tokenizer_makes_them(
    folder: Path, max_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_tokens, "_CHUNK", 3)
    theirs = AutoTokenizer.from_pretrained(folder)
    tokens = ClassifierTokens(folder)
    for pairs in (None, PAIRS):
        found = tokens.encode(TEXTS, pairs, max_tokens=max_tokens)
        cut = theirs(TEXTS, pairs, truncation=True, max_length=max_tokens)
        whole = theirs(TEXTS, pairs)["input_ids"]
        assert found.tokens.to_lists() == cut["input_ids"]
        assert found.num_cut == sum(len(ids) > max_tokens for ids in whole)
        if pairs is None:
            assert found.token_types is None
        else:
            assert found.token_types is not None
            assert found.token_types.to_lists() == cut["token_type_ids"]


def test_a_family_without_token_types(folder: Path) -> None:
    settings = folder / "tokenizer_config.json"
    text = settings.read_text().replace('"BertTokenizer"', '"PreTrainedTokenizerFast"')
    settings.write_text(text.replace("{", '{"model_input_names": ["input_ids"],', 1))
    found = ClassifierTokens(folder).encode(TEXTS, PAIRS, max_tokens=64)
    assert found.token_types is None


def test_what_is_known_of_the_tokenizer(folder: Path) -> None:
    tokens = ClassifierTokens(folder)
    assert (tokens.pad_token_id, tokens.pads_left, tokens.borrows_pad, tokens.longest) == (
        0, False, False, 64,
    )  # fmt: skip
    assert len(tokens.encode([], max_tokens=8).tokens) == 0


def test_a_folder_without_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(folder / "config.json", empty)
    with pytest.raises(ModelError, match=r"^.*empty: no tokenizer found\."):
        ClassifierTokens(empty)
    (empty / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"^.*empty: the tokenizer cannot be loaded: "):
        ClassifierTokens(empty)
