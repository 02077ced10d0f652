"""Text to token ids and back, identical to the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class TextCodec(Protocol):
    """What training and inference need of a tokenizer.

    Attributes:
        pad_token_id: Id that fills rows up.
        eos_token_id: Id that ends each sequence.
        unk_token_id: Id of what the vocabulary lacks.
    """

    pad_token_id: int
    eos_token_id: int
    unk_token_id: int

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of source texts, end token included, not cut."""
        ...

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of target texts, end token included, not cut."""
        ...

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind source ids, as the vocabulary spells them."""
        ...

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind target ids, as the vocabulary spells them."""
        ...

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of target ids, special tokens left out."""
        ...
