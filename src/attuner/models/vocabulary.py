"""Learn a vocabulary for a new Marian model, and the token ids that a configuration takes from it.

The folder is laid out as the published opus-mt checkpoints are, so that whatever reads those reads
it, too: one SentencePiece unigram model (Kudo 2018) for both sides, the end token first, the
unknown token second, the padding token last.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attuner.errors import DataError, ModelError, first_line
from attuner.models.json_files import read_json_object

END, UNKNOWN, PADDING = "</s>", "<unk>", "<pad>"
# sentencepiece adds up in the order of its threads: their number is part of the result.
_THREADS = 4
# Its own limit of 4,192 bytes would leave longer lines out without a word.
_LONGEST_LINE_BYTES = 2**20
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def learn_vocabulary(
    lines: Iterable[str],
    folder: Path,
    *,
    size: int,
    character_coverage: float,
    byte_fallback: bool,
    normalisation: str,
    source_language: str,
    target_language: str,
    max_tokens: int,
) -> int:
    """Write a Marian tokenizer into `folder`; returns its number of pieces, padding aside.

    The same lines in the same order give the same files.

    Args:
        lines: Text of both languages.
        folder: An empty folder.
        size: Number of pieces, end and unknown token among them; small data give fewer.
        character_coverage: Share of the text whose characters get pieces of their own.
        byte_fallback: Whether other characters are spelled in bytes.
        normalisation: sentencepiece's name of what is done to characters first.
        source_language: Code of the source side.
        target_language: Code of the target side.
        max_tokens: Longest sequence that the model can take.

    Raises:
        DataError: The lines have more characters than the vocabulary has room for, or hold
            nothing to learn from.
    """
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_usable(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            byte_fallback=byte_fallback,
            normalization_rule_name=normalisation,
            max_sentence_length=_LONGEST_LINE_BYTES,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            pad_id=-1,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _cannot_learn(error, size) from error
    spm = SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [spm.id_to_piece(place) for place in range(spm.get_piece_size())]
    ids = {piece: place for place, piece in enumerate([*pieces, PADDING])}
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": source_language,
        "target_lang": target_language,
        "separate_vocabs": False,
        "model_max_length": max_tokens,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "pad_token": PADDING,
    }
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model.getvalue())
    for name, content in (("vocab.json", ids), ("tokenizer_config.json", settings)):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")
    return len(pieces)


def _usable(lines: Iterable[str]) -> Iterable[str]:
    """The lines but those that spell a special token: such a piece would have two ids."""
    return (line for line in lines if not any(token in line for token in (END, UNKNOWN, PADDING)))


def _cannot_learn(error: RuntimeError, size: int) -> DataError:
    too_small = _TOO_SMALL.search(str(error))
    if too_small is None:
        return DataError(
            f"No vocabulary can be learned from the training texts: {first_line(error)}",
            "Expected lines of text.",
            "Look at the data: attuner check. Or give a tokenizer: model.tokenizer=FOLDER",
        )
    needed = int(too_small.group(1))
    return DataError(
        f"model.vocabulary.size={size:,} is too small: the characters of the training texts alone "
        f"need {needed:,} pieces.",
        "Expected room for each character and for pieces of several, such as 8000.",
        f"Set model.vocabulary.size={max(8000, 4 * needed)}, or a lower "
        "model.vocabulary.character_coverage.",
    )


def with_token_ids(config: Mapping[str, Any], vocabulary: Path) -> dict[str, Any]:
    """A Marian configuration with the sizes and token ids of a learned vocabulary.

    Args:
        config: As the user gave it.
        vocabulary: The folder that `learn_vocabulary` wrote.

    Raises:
        ModelError: The configuration has a number of its own that is another one.
    """
    ids = read_json_object(vocabulary / "vocab.json")
    size, end, padding = len(ids), ids[END], ids[PADDING]
    known = {
        "vocab_size": size,
        "decoder_vocab_size": size,
        "pad_token_id": padding,
        "eos_token_id": end,
        "bos_token_id": None,
        "decoder_start_token_id": padding,
        "forced_eos_token_id": end,
    }
    wrong = [key for key in known if config.get(key, known[key]) != known[key]]
    if wrong:
        given = ", ".join(f"{key}={config[key]}" for key in wrong)
        expected = ", ".join(f"{key}={known[key]}" for key in wrong)
        raise ModelError(
            f"model.config has {given}.",
            f"The vocabulary learned from the training texts has {expected}.",
            f"Leave {'them' if len(wrong) > 1 else 'it'} out of model.config: the vocabulary says.",
        )
    return {**config, **known}
