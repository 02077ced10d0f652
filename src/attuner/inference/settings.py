"""How a checkpoint wants its texts generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attuner.models.json_files import read_json_object


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What `generation_config.json` says, as far as both engines honour it.

    Attributes:
        num_beams: Width of the beam search; 1 is greedy.
        length_penalty: Exponent of the length that a hypothesis' score is divided by.
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


def read_settings(folder: Path) -> GenerationSettings:
    """The settings of a model folder; checkpoints of old keep them in `config.json`.

    Raises:
        ModelError: One of the files is broken.
    """
    values: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        values |= read_json_object(folder / name)
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
