"""Text to token ids and back, identical to the checkpoint's own tokenizer.

Marian folders are read with sentencepiece directly: no torch, no transformers, no Python work
per token. All others go through `AutoTokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from attuner.data.features import TokenColumn, offsets_of
from attuner.errors import ModelError, first_line
from attuner.models.json_files import read_json_object

_MARIAN_FILES = ("source.spm", "target.spm", "vocab.json")
_OTHER_FILES = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "vocab.txt",
    "merges.txt",
)
# Starting threads costs more than they gain on fewer texts.
_TEXTS_WORTH_THREADS = 256


class TextCodec(Protocol):
    """What training and inference need of a tokenizer.

    Attributes:
        pad_token_id: Id that fills rows up.
        eos_token_id: Id that ends each sequence.
        unk_token_id: Id of what the vocabulary lacks.
        forced_bos_token_id: Id that each generated target begins with, such as its language; None
            where the model chooses.
    """

    pad_token_id: int
    eos_token_id: int
    unk_token_id: int
    forced_bos_token_id: int | None

    def between(self, source: str | None, target: str | None) -> TextCodec:
        """The same tokens for texts of two languages, as plain codes such as `en`, `pt-BR`.

        Checkpoints of one pair of languages, or of none, know no codes and take any.
        """
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
        ModelError: The folder holds no tokenizer, or an incomplete one.
    """
    settings = read_json_object(folder / "tokenizer_config.json")
    marian_files = [name for name in _MARIAN_FILES if (folder / name).is_file()]
    if _is_marian(folder, settings) and marian_files:
        wanted = [
            *_MARIAN_FILES,
            *(["target_vocab.json"] if settings.get("separate_vocabs") else []),
        ]
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder}: the tokenizer lacks {', '.join(missing)}.",
                f"A Marian tokenizer consists of {', '.join(wanted)}.",
                "Copy the missing files from the checkpoint that the model was made from.",
            )
        codec = _marian_codec(folder, settings)
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
    if not any((folder / name).is_file() for name in (*_OTHER_FILES, "tokenizer_config.json")):
        raise ModelError(
            f"{folder}: no tokenizer found.",
            f"Looked for {', '.join((*_MARIAN_FILES, *_OTHER_FILES))}.",
            "Copy the tokenizer's files from the checkpoint that the model was made from, or "
            "save them there with tokenizer.save_pretrained(FOLDER).",
        )


class MarianCodec:
    """Marian's tokenizer on sentencepiece.

    Ids equal those of `MarianTokenizer` with one exception, on purpose: `</s>`, `<unk>` or
    `<pad>` that stand literally in a user's text are text. `MarianTokenizer` takes them for
    special tokens, so that a string which talks about `</s>` ends there.

    Args:
        source_spm: File of the source side's sentencepiece model.
        target_spm: File of the target side's.
        source_vocabulary: Id of each source piece.
        target_vocabulary: Id of each target piece; the same mapping where shared.
        eos_token: Spelling of the end token.
        unk_token: Spelling of the unknown token.
        pad_token: Spelling of the padding token.
    """

    def __init__(
        self,
        source_spm: Path,
        target_spm: Path,
        source_vocabulary: Mapping[str, int],
        target_vocabulary: Mapping[str, int],
        *,
        eos_token: str = "</s>",
        unk_token: str = "<unk>",
        pad_token: str = "<pad>",
    ) -> None:
        self.pad_token_id = source_vocabulary[pad_token]
        self.eos_token_id = source_vocabulary[eos_token]
        self.unk_token_id = source_vocabulary[unk_token]
        specials = (eos_token, unk_token, pad_token)
        self._source = _Side(source_spm, source_vocabulary, specials)
        self._target = _Side(target_spm, target_vocabulary, specials)
        # MarianTokenizer decodes with the source model where the vocabulary is shared. Pieces
        # that it lacks come out as they are spelled, so that this is seldom seen.
        shared = source_vocabulary is target_vocabulary
        self._decoder = self._source if shared else self._target
        self.forced_bos_token_id: int | None = None

    def between(self, source: str | None, target: str | None) -> MarianCodec:
        """The codec itself: its checkpoint is of one pair of languages."""
        return self

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of source texts, end token included, not cut."""
        return self._source.encode(texts, self.eos_token_id)

    def encode_target(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of target texts, end token included, not cut."""
        return self._target.encode(texts, self.eos_token_id)

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind source ids, as the vocabulary spells them."""
        return self._source.spell(ids)

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind target ids, as the vocabulary spells them."""
        return self._target.spell(ids)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of target ids, special tokens left out.

        Spaces before punctuation stay, whatever `clean_up_tokenization_spaces` says: French
        has them on purpose.
        """
        specials = {self.eos_token_id, self.unk_token_id, self.pad_token_id}
        pieces = [
            self._target.spell([i for i in sequence if i not in specials]) for sequence in sequences
        ]
        texts: list[str] = self._decoder.spm.decode_pieces(pieces) if pieces else []
        return [text.replace("▁", " ").strip() for text in texts]


class _Side:
    """One side of a Marian tokenizer: a sentencepiece model and its table of ids."""

    def __init__(
        self, spm_file: Path, vocabulary: Mapping[str, int], specials: tuple[str, str, str]
    ) -> None:
        import sentencepiece

        try:
            self.spm = sentencepiece.SentencePieceProcessor(model_file=str(spm_file))
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"{spm_file}: not a readable sentencepiece model.",
                str(error),
                "Copy the file again from the checkpoint that the model was made from.",
            ) from error
        self._unk_id = vocabulary[specials[1]]
        self._unk_piece = self.spm.unk_id()
        # What text can become: everything but the special tokens.
        self._ids = {piece: i for piece, i in vocabulary.items() if piece not in specials}
        self._pieces = {i: piece for piece, i in vocabulary.items()}
        spellings = [self.spm.id_to_piece(i) for i in range(self.spm.get_piece_size())]
        table = [self._ids.get(piece, self._unk_id) for piece in spellings]
        self._table = np.array(table, np.int32)

    def spell(self, ids: Sequence[int]) -> list[str]:
        pieces, unk = self._pieces, self._pieces[self._unk_id]
        return [pieces.get(i, unk) for i in ids]

    def encode(self, texts: Sequence[str], eos_token_id: int) -> TokenColumn:
        codes, plain = self._take_codes(texts)
        pieces = TokenColumn.from_lists(self._encode(plain, int))
        ids = self._table[pieces.values]
        self._look_up_unknown(ids, pieces, plain)
        has_code = np.zeros(len(plain), np.int64)
        has_code[list(codes)] = 1
        offsets = offsets_of(pieces.lengths + has_code + 1)
        framed = np.empty(offsets[-1], np.int32)
        is_piece = np.ones(len(framed), bool)
        for places, ends in (
            (offsets[1:] - 1, eos_token_id),
            (offsets[list(codes)], [self._ids.get(code, self._unk_id) for code in codes.values()]),
        ):
            framed[places] = ends
            is_piece[places] = False
        framed[is_piece] = ids
        return TokenColumn(framed, offsets)

    def _encode(self, texts: list[str], out_type: type) -> Any:
        # Lists of int are the quickest that sentencepiece gives: its `numpy` makes an array a row.
        threads = -1 if len(texts) >= _TEXTS_WORTH_THREADS else 1
        return self.spm.encode(texts, out_type=out_type, num_threads=threads) if texts else []

    def _look_up_unknown(
        self, ids: npt.NDArray[np.int32], pieces: TokenColumn, texts: list[str]
    ) -> None:
        """Look the unknown pieces' spellings up, and put what is found into `ids`.

        sentencepiece's unknown piece stands for any spelling; the vocabulary of a joint model may
        have that very spelling from the other side.
        """
        places = np.flatnonzero(pieces.values == self._unk_piece)
        rows = np.searchsorted(pieces.offsets, places, "right") - 1
        distinct = np.unique(rows).tolist()
        spellings = self._encode([texts[row] for row in distinct], str)
        by_row = dict(zip(distinct, spellings, strict=True))
        inside = places - pieces.offsets[rows]
        ids[places] = [
            self._ids.get(by_row[row][place], self._unk_id)
            for row, place in zip(rows.tolist(), inside.tolist(), strict=True)
        ]

    @staticmethod
    def _take_codes(texts: Sequence[str]) -> tuple[dict[int, str], list[str]]:
        """Set aside the language codes, such as `>>fra<<`, that texts begin with."""
        codes: dict[int, str] = {}
        plain = list(texts)
        for place, text in enumerate(plain):
            if text.startswith(">>") and (end := text.find("<<")) != -1:
                codes[place] = text[: end + 2]
                plain[place] = text[end + 2 :]
        return codes, plain


class TransformersCodec:
    """Any other tokenizer, through `AutoTokenizer`; remote code is never run."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelError(
                f"{folder}: the tokenizer cannot be loaded: {first_line(error)}",
                "A tokenizer as tokenizer.save_pretrained(FOLDER) writes it, without own code.",
                "Copy the tokenizer's files from the checkpoint that the model was made from.",
            ) from error
        eos, pad, unk = (
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
            self.tokenizer.unk_token_id,
        )
        if eos is None:
            raise ModelError(
                f"{folder}: the tokenizer has no end token.",
                "A model that generates text needs one.",
                'Set "eos_token" in tokenizer_config.json.',
            )
        self.eos_token_id = int(eos)
        self.pad_token_id = int(eos if pad is None else pad)
        self.unk_token_id = int(eos if unk is None else unk)
        self.forced_bos_token_id: int | None = None

    def between(self, source: str | None, target: str | None) -> TransformersCodec:
        """The codec itself."""
        return self

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of source texts, end token included, not cut."""
        return TokenColumn.from_lists(self.tokenizer(list(texts))["input_ids"] if texts else [])

    def encode_target(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of target texts, end token included, not cut."""
        rows = self.tokenizer(text_target=list(texts))["input_ids"] if texts else []
        return TokenColumn.from_lists(rows)

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind source ids, as the vocabulary spells them."""
        tokens: list[str] = self.tokenizer.convert_ids_to_tokens(list(ids))
        return tokens

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind target ids, as the vocabulary spells them."""
        return self.source_tokens(ids)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of target ids, special tokens left out."""
        texts: list[str] = self.tokenizer.batch_decode(
            [list(ids) for ids in sequences],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return texts


def _is_marian(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder names MarianTokenizer; old checkpoints name only the architecture."""
    named = settings.get("tokenizer_class")
    if named is not None:
        return bool(named == "MarianTokenizer")
    config = read_json_object(folder / "config.json")
    if config.get("model_type") is not None:
        return bool(config["model_type"] == "marian")
    return all((folder / name).is_file() for name in _MARIAN_FILES)


def _marian_codec(folder: Path, settings: Mapping[str, Any]) -> MarianCodec | None:
    """The folder's codec; None where it has tokens that sentencepiece does not know of."""
    names = {**read_json_object(folder / "special_tokens_map.json"), **settings}
    specials = {
        key: _content(names.get(key, default))
        for key, default in (("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>"))
    }
    source_vocabulary = read_json_object(folder / "vocab.json")
    target_vocabulary = source_vocabulary
    if settings.get("separate_vocabs"):
        target_vocabulary = read_json_object(folder / "target_vocab.json")
    added = {_content(token) for token in settings.get("added_tokens_decoder", {}).values()}
    added |= set(read_json_object(folder / "added_tokens.json"))
    if not added <= set(specials.values()) or settings.get("sp_model_kwargs"):
        return None
    if any(s not in v for s in specials.values() for v in (source_vocabulary, target_vocabulary)):
        return None
    return MarianCodec(
        folder / "source.spm",
        folder / "target.spm",
        source_vocabulary,
        target_vocabulary,
        **specials,
    )


def _content(token: str | Mapping[str, Any]) -> str:
    """The spelling of a token that a file gives as text or as a table."""
    return token if isinstance(token, str) else str(token["content"])
