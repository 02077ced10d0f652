"""A codec that puts a text before each source text, as T5 was taught: `summarize: `."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attuner.data.features import TokenColumn
from attuner.models.codec import TextCodec


def with_prefix(codec: TextCodec, prefix: str) -> TextCodec:
    """The codec, with `prefix` before each source text; the codec itself where it is empty."""
    return PrefixedCodec(codec, prefix) if prefix else codec


def without_prefix(codec: TextCodec) -> TextCodec:
    """The codec whose source texts begin with nothing of ours."""
    return codec.plain if isinstance(codec, PrefixedCodec) else codec


class PrefixedCodec:
    """A `TextCodec` like another one, but for what source texts begin with.

    Args:
        codec: The other one.
        prefix: Text put before each source text.
    """

    def __init__(self, codec: TextCodec, prefix: str) -> None:
        self.plain = codec
        self._prefix = prefix
        self.pad_token_id = codec.pad_token_id
        self.eos_token_id = codec.eos_token_id
        self.unk_token_id = codec.unk_token_id
        self.forced_bos_token_id = codec.forced_bos_token_id

    def __getattr__(self, name: str) -> Any:
        """What only some codecs have, such as `tokenizer`."""
        return getattr(self.plain, name)

    def between(self, source: str | None, target: str | None) -> PrefixedCodec:
        """The same prefix, for texts of two languages."""
        return PrefixedCodec(self.plain.between(source, target), self._prefix)

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of the prefix and source texts, end token included, not cut."""
        return self.plain.encode_source([f"{self._prefix}{text}" for text in texts])

    def encode_target(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of target texts, end token included, not cut."""
        return self.plain.encode_target(texts)

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind source ids, as the vocabulary spells them."""
        return self.plain.source_tokens(ids)

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind target ids, as the vocabulary spells them."""
        return self.plain.target_tokens(ids)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of target ids, special tokens left out."""
        return self.plain.decode(sequences)
