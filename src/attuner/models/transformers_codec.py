"""Text to token ids and back through `AutoTokenizer`; remote code is never run."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attuner.data.features import TokenColumn
from attuner.errors import ModelError, first_line
from attuner.models.families import LANGUAGE_TOKENS, family_of
from attuner.models.json_files import read_json_object, refuse_huge
from attuner.models.languages import Pair, codes_in, language_name, require_language
from attuner.models.source_text import SourceText
from attuner.models.trust import TOKENIZER_REMEDY, refuse_ids

# What transformers makes tokenizers of; one of them is enough.
TRANSFORMERS_FILES = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "vocab.txt",
    "merges.txt",
)
_NEVER_CUT = 10**9

Frame = tuple[list[int], list[int]]


class TransformersCodec:
    """Any tokenizer that transformers loads.

    Ids equal those of the tokenizer with `src_lang` and `tgt_lang` set, with two exceptions on
    purpose. Special tokens that stand literally in a text, such as `</s>`, are text, as far as the
    tokenizer can spell them otherwise. And targets have no language after their end token:
    mBART-25's decoder starts with it instead.

    Args:
        folder: Holds the tokenizer's files.

    Attributes:
        marks: How the tokenizer marks languages; None where it does not.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.tokenizer.model_max_length = _NEVER_CUT  # the file's value may be anything
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
        largest = max(self.tokenizer.get_vocab().values())
        self.vocabulary_sizes = (largest + 1, largest + 1)
        self.forced_bos_token_id: int | None = None
        self.decoder_start_token_id: int | None = None
        self.pair = Pair()
        self.num_source_ends = 1
        kind = type(self.tokenizer).__name__.removesuffix("Fast")
        marks = LANGUAGE_TOKENS.get(kind)
        self.marks = None if marks is None or marks.is_text else marks
        self._text = SourceText.of(kind, sorted(self.tokenizer.get_vocab()) if marks else ())
        self._codes = self._language_ids()
        self.languages = tuple(self._codes) or self._text.languages
        # ByT5 has T5's architecture and not its training.
        is_t5 = kind != "ByT5Tokenizer" and not self.languages
        model_type = str(read_json_object(folder / "config.json").get("model_type", ""))
        self._family_words = family_of(model_type).prefix if is_t5 else ""
        self._frames: tuple[Frame, Frame] | None = None
        self._literal = self._special_pattern()

    @property
    def source_prefix(self) -> str:
        """Text that is put before each source."""
        return self._text.prefix

    def between(self, source: str | None, target: str | None) -> TransformersCodec:
        """The same tokens for texts of two languages; see `TextCodec.between`."""
        made = copy.copy(self)
        made._text = self._text.into(target)
        made.pair = Pair(source, target, None, made._text.target_code)
        if self._family_words:
            named = source is not None and target is not None
            words = self._named_words(source or "", target or "") if named else ""
            made._text = replace(made._text, words=words)
        if self._codes and (source or target):
            made._set_languages(source, target)
        return made

    def with_prefix(self, prefix: str) -> TransformersCodec:
        """The same tokens with other words before each source; a language's token stays."""
        made = copy.copy(self)
        made._text = replace(self._text, words=prefix)
        made._family_words = ""  # between() shall keep these
        return made

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of source texts, end token included, not cut."""
        return self._encode(self._text.before(texts), 0)

    def encode_target(self, texts: Sequence[str]) -> TokenColumn:
        """Token ids of target texts, end token included, not cut."""
        return self._encode(texts, 1)

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind source ids, as the vocabulary spells them."""
        tokens: list[str] = self.tokenizer.convert_ids_to_tokens(list(ids))
        return tokens

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind target ids, as the vocabulary spells them."""
        return self.source_tokens(ids)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of target ids, special tokens left out."""
        # Not every tokenizer takes its languages for special tokens.
        languages = set(self._codes.values())
        texts: list[str] = self.tokenizer.batch_decode(
            [[i for i in ids if i not in languages] for ids in sequences],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return texts

    def _language_ids(self) -> dict[str, int]:
        """Ids of the languages' tokens by code; only those that are no text."""
        if self.marks is None:
            return {}
        tokenizer = self.tokenizer
        tokens = [
            *map(str, tokenizer.all_special_tokens),
            *tokenizer.get_added_vocab(),
            # M2M100's are in no vocabulary: the tokenizer appends them.
            *getattr(tokenizer, "lang_code_to_token", {}).values(),
        ]
        codes = codes_in(tokens, self.marks.spelling, self.marks.code)
        ids = {code: tokenizer.convert_tokens_to_ids(token) for code, token in codes.items()}
        return {code: int(i) for code, i in ids.items() if i not in (None, self.unk_token_id)}

    def _named_words(self, source: str, target: str) -> str:
        return self._family_words.format(source=language_name(source), target=language_name(target))

    def _set_languages(self, source: str | None, target: str | None) -> None:
        """Set what marks the languages in source, target and decoder."""
        assert self.marks is not None
        if source is None or target is None:
            side = "source" if source is None else "target"
            raise ModelError(
                f"The checkpoint was not told the {side} language.",
                f"It marks source and target with one of {len(self._codes)} languages each.",
                f"Give it as a code such as en or pt-BR: --{side} on the command line, "
                f"{side}= in Python, task.{side} in a recipe.",
            )
        codes = tuple(self._codes)
        source_code = require_language(source, codes, side="source")
        target_code = require_language(target, codes, side="target")
        self.pair = Pair(source, target, source_code, target_code)
        source_id, target_id = self._codes[source_code], self._codes[target_code]
        eos = self.eos_token_id
        # NLLB's first tokenizers put the source's language at the end; some were tuned so.
        follows = self.marks.follows or getattr(self.tokenizer, "legacy_behaviour", False)
        self.num_source_ends = 2 if follows else 1
        source_frame = ([], [eos, source_id]) if follows else ([source_id], [eos])
        if self.marks.starts_decoder:
            self.decoder_start_token_id = target_id
            self._frames = source_frame, ([], [eos])
        else:
            self.forced_bos_token_id = target_id
            self._frames = source_frame, ([target_id], [eos])

    def _special_pattern(self) -> re.Pattern[str]:
        """Finds special tokens in texts; masks and sentinels, which users write, are left out."""
        tokenizer = self.tokenizer
        names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
        tokens = {str(token) for name in names if (token := getattr(tokenizer, name, None))}
        tokens |= set(self.source_tokens(list(self._codes.values())))
        return re.compile("|".join(re.escape(token) for token in sorted(tokens, reverse=True)))

    def _encode(self, texts: Sequence[str], side: int) -> TokenColumn:
        """Ids of texts; `side` is 0 for sources, 1 for targets."""
        literal = [place for place, text in enumerate(texts) if self._literal.search(text)]
        rows = self._call(texts, side)
        for place, row in zip(
            literal, self._call([texts[i] for i in literal], side, True), strict=True
        ):
            rows[place] = row
        return TokenColumn.from_lists(rows)

    def _call(self, texts: Sequence[str], side: int, all_is_text: bool = False) -> list[list[int]]:
        if not texts:
            return []
        options = {"split_special_tokens": True} if all_is_text else {}
        if self._frames is None:
            given = {"text_target" if side else "text": list(texts)}
            rows: list[list[int]] = self.tokenizer(**given, **options)["input_ids"]
            return rows
        before, after = self._frames[side]
        plain = self.tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        return [[*before, *ids, *after] for ids in plain]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, as transformers has it.

    Raises:
        ModelError: It cannot be loaded, or has absurd files.
    """
    from transformers import AutoTokenizer

    for name in TRANSFORMERS_FILES:
        if (folder / name).exists():
            refuse_huge(folder / name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # whatever a foreign library trips over, the files are at fault
        raise ModelError(
            f"{folder}: the tokenizer cannot be loaded: {first_line(error)}",
            "A tokenizer as tokenizer.save_pretrained(FOLDER) writes it, without own code.",
            TOKENIZER_REMEDY,
        ) from error
    added = tokenizer.added_tokens_decoder
    refuse_ids(folder, {str(added[number]): number for number in added}, len(tokenizer))
    return tokenizer
