"""Marian's tokenizer on sentencepiece: no torch, no transformers, no Python work per token."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attuner.data.features import TokenColumn, offsets_of
from attuner.errors import ModelError
from attuner.models.json_files import read_json_object
from attuner.models.languages import Pair
from attuner.models.source_text import SourceText
from attuner.models.trust import TOKENIZER_REMEDY, refuse_ids

MARIAN_FILES = ("source.spm", "target.spm", "vocab.json")
_LONGEST_TOKEN = 1000
# Starting threads costs more than they gain on fewer texts.
_TEXTS_WORTH_THREADS = 256


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
        self.vocabulary_sizes = (
            max(source_vocabulary.values()) + 1,
            max(target_vocabulary.values()) + 1,
        )
        self.forced_bos_token_id: int | None = None
        self.decoder_start_token_id: int | None = None
        self._marks = SourceText.of("MarianTokenizer", source_vocabulary)
        self.languages = self._marks.languages
        self.pair = Pair()
        self.num_source_ends = 1

    @property
    def source_prefix(self) -> str:
        """Text that is put before each source, such as `>>fra<< `."""
        return self._marks.prefix

    def between(self, source: str | None, target: str | None) -> MarianCodec:
        """The same tokens for texts of two languages; see `TextCodec.between`."""
        made = copy.copy(self)
        made._marks = self._marks.into(target)
        made.pair = Pair(source, target, None, made._marks.target_code)
        return made

    def with_prefix(self, prefix: str) -> MarianCodec:
        """The same tokens with other words before each source; a language's token stays."""
        made = copy.copy(self)
        made._marks = replace(self._marks, words=prefix)
        return made

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of source texts, end token included, not cut."""
        return self._source.encode(self._marks.before(texts), self.eos_token_id)

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


def marian_codec(folder: Path, settings: Mapping[str, Any]) -> MarianCodec | None:
    """The folder's codec; None where it has tokens that sentencepiece does not know of."""
    names = {**read_json_object(folder / "special_tokens_map.json"), **settings}
    specials = {
        key: default if names.get(key) is None else _content(names[key], key, folder)
        for key, default in (("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>"))
    }
    source_vocabulary = _vocabulary(folder / "vocab.json")
    target_vocabulary = source_vocabulary
    if settings.get("separate_vocabs"):
        target_vocabulary = _vocabulary(folder / "target_vocab.json")
    added = {_content(token, "added_tokens_decoder", folder) for token in _added(folder, settings)}
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


def _content(token: object, key: str, folder: Path) -> str:
    """The spelling of a token that a file gives as text or as a table."""
    spelling = token.get("content") if isinstance(token, dict) else token
    if not isinstance(spelling, str) or len(spelling) > _LONGEST_TOKEN:
        raise ModelError(
            f"{folder}: {key} in the tokenizer's configuration has the token {spelling!r:.60}.",
            f"A token is a text of up to {_LONGEST_TOKEN} characters.",
            TOKENIZER_REMEDY,
        )
    return spelling


def _added(folder: Path, settings: Mapping[str, Any]) -> list[Any]:
    added = settings.get("added_tokens_decoder", {})
    if not isinstance(added, dict):
        raise ModelError(
            f"{folder / 'tokenizer_config.json'}: added_tokens_decoder is {added!r:.60}.",
            "It is an object with a token for each id.",
            TOKENIZER_REMEDY,
        )
    return list(added.values())


def _vocabulary(file: Path) -> dict[str, int]:
    """Ids of pieces.

    Raises:
        ModelError: They are no whole numbers, or absurdly many.
    """
    ids = read_json_object(file)
    refuse_ids(file, ids, len(ids))
    return ids
