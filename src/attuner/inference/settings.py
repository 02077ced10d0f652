"""How a checkpoint wants its texts generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object

_REMEDY = "Copy config.json and generation_config.json again from the checkpoint."
_MOST_BEAMS = 1000


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What `generation_config.json` says, as far as both engines honour it.

    Attributes:
        num_beams: Width of the beam search; 1 is greedy.
        length_penalty: Exponent of the length that a hypothesis' score is divided by.
        min_length: Shortest text in tokens, the decoder's start included, the end token not.
        no_repeat_ngram_size: No n-gram of this size occurs twice; 0 leaves them.
        repetition_penalty: Divides the score of tokens that occurred; 1 leaves it.
        forced_bos_token_id: Token that each target begins with, such as its language.
        decoder_start_token_id: Token that the decoder starts with.
        bad_words_ids: Sequences of tokens that are never generated.
        max_position_embeddings: Longest text that the model has positions for, in tokens; None
            where its positions are relative.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    min_length: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    forced_bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    max_position_embeddings: int | None = None

    def within_positions(self, num_tokens: int) -> int:
        """`num_tokens`, or as many as the model has positions for."""
        limit = self.max_position_embeddings
        return num_tokens if limit is None else min(num_tokens, limit)


def _is_count(value: object, lowest: int = 0) -> bool:
    return type(value) is int and value >= lowest


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(word, list) and all(_is_count(token) for token in word) for word in value
    )


# What a file may say of each setting, and how a message puts it.
_POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_beams": (
        lambda value: _is_count(value, 1) and value <= _MOST_BEAMS,
        f"The width of the search is a whole number from 1 to {_MOST_BEAMS}",
    ),
    "length_penalty": (_is_number, "The penalty is a number"),
    "min_length": (_is_count, "The length is a whole number from 0"),
    "no_repeat_ngram_size": (_is_count, "The size is a whole number from 0"),
    "repetition_penalty": (
        lambda value: _is_number(value) and value > 0,
        "The penalty is a number above 0",
    ),
    "forced_bos_token_id": (_is_count, "A token's id is a whole number from 0"),
    "bad_words_ids": (_are_words, "It is a list of lists of tokens' ids"),
    "max_position_embeddings": (
        lambda value: _is_count(value, 1),
        "The number of positions is a whole number from 1",
    ),
}


def read_settings(folder: Path) -> GenerationSettings:
    """The settings of a model folder; checkpoints of old keep them in `config.json`.

    Raises:
        ModelError: One of the files is broken, or holds an impossible setting.
    """
    values: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        values |= read_json_object(folder / name)
    for name, (is_possible, expected) in _POSSIBLE.items():
        value = values.get(name)
        if value is not None and not is_possible(value):
            raise ModelError(f"{folder}: {name} is {value!r:.60}.", f"{expected}.", _REMEDY)
    return _settings(values)


def settings_of_model(model: Any) -> GenerationSettings:
    """The settings of a transformers model in memory."""
    values = {**model.config.to_dict(), **model.generation_config.to_dict()}
    if values.get("decoder_start_token_id") is None:  # seldom in the second, where it is null
        values["decoder_start_token_id"] = model.config.decoder_start_token_id
    return _settings(values)


def _settings(values: Mapping[str, Any]) -> GenerationSettings:
    """The settings among a configuration's values; what is missing or null keeps its default."""
    known = {
        name: values[name]
        for name in GenerationSettings.__dataclass_fields__
        if values.get(name) is not None
    }
    if "bad_words_ids" in known:
        known["bad_words_ids"] = tuple(tuple(word) for word in known["bad_words_ids"])
    return GenerationSettings(**known)
