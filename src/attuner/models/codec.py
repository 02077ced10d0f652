"""Text to token ids and back, identical to the checkpoint's own tokenizer.

Marian folders are read with sentencepiece directly: no torch, no transformers, no Python work
per token. All others go through `AutoTokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attuner.data.features import TokenColumn
from attuner.errors import ModelError
from attuner.models.json_files import read_json_object
from attuner.models.languages import Pair
from attuner.models.marian_codec import MARIAN_FILES, marian_codec
from attuner.models.marian_codec import MarianCodec as MarianCodec
from attuner.models.transformers_codec import TRANSFORMERS_FILES
from attuner.models.transformers_codec import TransformersCodec as TransformersCodec
from attuner.models.trust import refuse_code


class TextCodec(Protocol):
    """What training and inference need of a tokenizer.

    Attributes:
        pad_token_id: Id that fills rows up.
        eos_token_id: Id that ends each sequence.
        unk_token_id: Id of what the vocabulary lacks.
        forced_bos_token_id: Id that each generated target begins with, such as its language; None
            where the model chooses.
        vocabulary_sizes: One more than the largest id of a source text, and of a target text.
        decoder_start_token_id: Id that the decoder starts with; None where the model's
            configuration says.
        languages: Codes of the languages that the checkpoint tells apart, in its spelling; none
            where it is of one pair of languages, or of no language.
        pair: The languages that the tokens are for.
        num_source_ends: Tokens that end each source and are kept where it is cut: the end token,
            in some families followed by the language.
    """

    pad_token_id: int
    eos_token_id: int
    unk_token_id: int
    forced_bos_token_id: int | None
    vocabulary_sizes: tuple[int, int]
    decoder_start_token_id: int | None
    languages: tuple[str, ...]
    pair: Pair
    num_source_ends: int

    @property
    def source_prefix(self) -> str:
        """Text that is put before each source."""
        ...

    def between(self, source: str | None, target: str | None) -> TextCodec:
        """The same tokens for texts of two languages, as plain codes such as `en`, `pt-BR`.

        Checkpoints of one pair of languages, or of none, know no codes and take any.

        Raises:
            ModelError: The checkpoint knows no such language, or needs both.
        """
        ...

    def with_prefix(self, prefix: str) -> TextCodec:
        """The same tokens with other words before each source; a language's token stays."""
        ...

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of source texts, end token included, not cut."""
        ...

    def encode_target(self, texts: Sequence[str]) -> TokenColumn:
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


def load_codec(folder: Path) -> TextCodec:
    """Read the tokenizer of a model folder.

    Raises:
        ModelError: The folder holds no tokenizer, an incomplete one, or one with code of its own.
    """
    settings = read_json_object(folder / "tokenizer_config.json")
    refuse_code(folder / "tokenizer_config.json", settings)
    marian_files = [name for name in MARIAN_FILES if (folder / name).is_file()]
    if _is_marian(folder, settings) and marian_files:
        wanted = [
            *MARIAN_FILES,
            *(["target_vocab.json"] if settings.get("separate_vocabs") else []),
        ]
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder}: the tokenizer lacks {', '.join(missing)}.",
                f"A Marian tokenizer consists of {', '.join(wanted)}.",
                "Copy the missing files from the checkpoint that the model was made from.",
            )
        codec = marian_codec(folder, settings)
        if codec is not None:
            return codec
    else:
        require_tokenizer(folder)
    return TransformersCodec(folder)


def require_tokenizer(folder: Path) -> None:
    """See that a folder holds a tokenizer; without, transformers makes an empty one up.

    Raises:
        ModelError: It holds none.
    """
    if not any(
        (folder / name).is_file() for name in (*TRANSFORMERS_FILES, "tokenizer_config.json")
    ):
        raise ModelError(
            f"{folder}: no tokenizer found.",
            f"Looked for {', '.join((*MARIAN_FILES, *TRANSFORMERS_FILES))}.",
            "Copy the tokenizer's files from the checkpoint that the model was made from, or "
            "save them there with tokenizer.save_pretrained(FOLDER).",
        )


def _is_marian(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder names MarianTokenizer; old checkpoints name only the architecture."""
    named = settings.get("tokenizer_class")
    if named is not None:
        return bool(named == "MarianTokenizer")
    config = read_json_object(folder / "config.json")
    if config.get("model_type") is not None:
        return bool(config["model_type"] == "marian")
    return all((folder / name).is_file() for name in MARIAN_FILES)
