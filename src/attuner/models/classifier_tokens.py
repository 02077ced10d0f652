"""Token ids of texts and pairs of texts, exactly as the checkpoint's own tokenizer makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attuner.data.features import TokenColumn
from attuner.errors import ModelError
from attuner.models.codec import require_tokenizer
from attuner.models.json_files import read_json_object
from attuner.models.transformers_codec import load_tokenizer
from attuner.models.trust import TOKENIZER_REMEDY, refuse_code

# Texts tokenised at a time, so that their lists do not fill the memory.
_CHUNK = 2_000
# transformers' value where a checkpoint names no limit is about 1e30.
_NO_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Token ids of texts, special tokens included.

    Attributes:
        tokens: The ids.
        token_types: For pairs, where the family tells them apart: which text each token is of.
        num_cut: Texts (or pairs) that were longer than allowed.
    """

    tokens: TokenColumn
    token_types: TokenColumn | None
    num_cut: int


class ClassifierTokens:
    """The tokenizer of a classifier.

    Args:
        folder: The model folder.

    Attributes:
        tokenizer: transformers' own.
        pad_token_id: Id that fills rows up.
        pads_left: Whether rows are filled up on the left.
        borrows_pad: Whether the checkpoint has no pad token, so that its end token serves.
        longest: The most tokens that the tokenizer's settings allow, or None.

    Raises:
        ModelError: The folder holds no tokenizer, or one that cannot be loaded, has code of its
            own or no token to pad with.
    """

    def __init__(self, folder: Path) -> None:
        settings = folder / "tokenizer_config.json"
        refuse_code(settings, read_json_object(settings))
        require_tokenizer(folder)
        self.tokenizer: Any = load_tokenizer(folder)
        self.borrows_pad = self.tokenizer.pad_token_id is None
        if self.borrows_pad:  # decoders are often published without
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.tokenizer.pad_token_id is None:
            raise ModelError(
                f"{folder}: the tokenizer has neither a pad token nor an end token.",
                "Texts of different lengths are filled up with one of them.",
                'Set "pad_token" in tokenizer_config.json.',
            )
        self.pad_token_id = int(self.tokenizer.pad_token_id)
        self.pads_left = self.tokenizer.padding_side == "left"
        longest = self.tokenizer.model_max_length
        if type(longest) not in (int, float) or longest < 1:
            raise ModelError(
                f"{settings}: model_max_length is {longest!r:.60}.",
                "The longest text is a number of tokens, from 1.",
                TOKENIZER_REMEDY,
            )
        limit = int(min(longest, _NO_LIMIT))
        self.longest = limit if limit < _NO_LIMIT else None
        self._has_types = "token_type_ids" in self.tokenizer.model_input_names

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_tokens: int
    ) -> EncodedTexts:
        """Token ids of texts, or of pairs of texts.

        What is too long is cut as the tokenizer cuts: of a pair, the longer text first.

        Args:
            texts: The texts.
            pairs: The second text of each, where there are such.
            max_tokens: Longest sequence, special tokens included.
        """
        chunks = [
            self._encode(
                list(texts[start : start + _CHUNK]),
                None if pairs is None else list(pairs[start : start + _CHUNK]),
                max_tokens,
            )
            for start in range(0, len(texts), _CHUNK)
        ]
        types = [chunk.token_types for chunk in chunks if chunk.token_types is not None]
        return EncodedTexts(
            TokenColumn.concatenate([chunk.tokens for chunk in chunks]),
            TokenColumn.concatenate(types) if types else None,
            sum(chunk.num_cut for chunk in chunks),
        )

    def _encode(self, texts: list[str], pairs: list[str] | None, max_tokens: int) -> EncodedTexts:
        has_types = self._has_types and pairs is not None
        found = self._tokenise(texts, pairs, has_types)
        rows: list[list[int]] = found["input_ids"]
        types: list[list[int]] | None = found["token_type_ids"] if has_types else None
        long = [row for row, ids in enumerate(rows) if len(ids) > max_tokens]
        if long:
            cut = self._tokenise(
                [texts[row] for row in long],
                None if pairs is None else [pairs[row] for row in long],
                has_types,
                truncation=True,
                max_length=max_tokens,
            )
            for place, row in enumerate(long):
                rows[row] = cut["input_ids"][place]
                if types is not None:
                    types[row] = cut["token_type_ids"][place]
        for row, ids in enumerate(rows):
            if not ids:  # a tokenizer without special tokens gives none for an empty text
                rows[row] = [self.pad_token_id]
        return EncodedTexts(
            TokenColumn.from_lists(rows),
            None if types is None else TokenColumn.from_lists(types),
            len(long),
        )

    def _tokenise(
        self, texts: list[str], pairs: list[str] | None, has_types: bool, **options: Any
    ) -> Any:
        return self.tokenizer(
            texts,
            pairs,
            return_attention_mask=False,
            return_token_type_ids=has_types,
            verbose=False,
            **options,
        )
