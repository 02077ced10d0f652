"""How a model folder is used: its languages and words, written where whoever reads it will look.

`attuner.json` holds what transformers has no place for: the plain codes of the languages, and the
text before each source. The rest goes where transformers reads it: the tokenizer's `src_lang` and
`tgt_lang`, the model's forced first token and decoder start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attuner.errors import ModelError
from attuner.models.codec import TextCodec, load_codec
from attuner.models.json_files import read_json_object
from attuner.models.languages import match_language, plain_code

FILE = "attuner.json"
_TOKENIZER = "tokenizer_config.json"
_GENERATION = ("generation_config.json", "config.json")


@dataclass(frozen=True, slots=True)
class Usage:
    """What `attuner.json` says.

    Attributes:
        source: Language of the sources, as a plain code; None where it is of no matter.
        target: Language of the targets.
        prefix: Text before each source; the language's token is part of it where it is text.
        whole_texts: Whether a text is taken as a whole, not line by line.
        max_source_tokens: Longer sources are cut, end token kept; 0 leaves it to the engine.
    """

    source: str | None = None
    target: str | None = None
    prefix: str = ""
    whole_texts: bool = False
    max_source_tokens: int = 0


def read_usage(folder: Path) -> Usage | None:
    """What a model folder says of its use; None where it has no `attuner.json`.

    Raises:
        ModelError: The file is broken.
    """
    if not (folder / FILE).is_file():
        return None
    values = read_json_object(folder / FILE)
    known = {name: values[name] for name in Usage.__dataclass_fields__ if values.get(name)}
    examples = asdict(Usage("en", "fr"))
    for name, value in known.items():
        if type(value) is not type(examples[name]):
            raise ModelError(
                f"{folder / FILE}: {name} is {json.dumps(value)}.",
                f"Expected a value such as {json.dumps(examples[name])}.",
                "Copy the file again from the run that made the model, or delete it.",
            )
    return Usage(**known)


def write_usage(
    codec: TextCodec, folder: Path, *, whole_texts: bool = False, max_source_tokens: int = 0
) -> None:
    """Note how a model folder is used, in `attuner.json` and for its tokenizer.

    Args:
        codec: Its languages, and the text before each source.
        folder: The model folder.
        whole_texts: Whether a text is taken as a whole, not line by line.
        max_source_tokens: Longer sources are cut, end token kept; 0 leaves it to the engine.
    """
    pair = codec.pair
    usage = Usage(pair.source, pair.target, codec.source_prefix, whole_texts, max_source_tokens)
    _write_json(asdict(usage), folder / FILE)
    settings = read_json_object(folder / _TOKENIZER)
    if pair.source_code is None or pair.target_code is None or not settings:
        return
    spelled = {"src_lang": pair.source_code, "tgt_lang": pair.target_code}
    if {name: settings.get(name) for name in spelled} != spelled:
        _write_json({**settings, **spelled}, folder / _TOKENIZER)


def load_codec_between(
    folder: Path,
    source: str | None = None,
    target: str | None = None,
    prefix: str | None = None,
    *,
    tuned: Path | None = None,
) -> TextCodec:
    """The tokens of a model folder, for the languages asked for or those that it was tuned for.

    Args:
        folder: A model folder.
        source: Language of the sources; the folder's where not given.
        target: Language of the targets; the folder's where not given.
        prefix: Words before each source; the folder's where not given, else the family's.
        tuned: The folder that says what it was tuned for, where that is another one: an adapter's.

    Raises:
        ModelError: The tokenizer cannot be loaded, or knows no such language.
    """
    tuned = tuned or folder
    bare, usage = load_codec(folder), read_usage(tuned)
    if prefix is not None:  # before languages are told, for which the family might lack words
        bare = bare.with_prefix(prefix)
    if source is None or target is None:
        known = _default_languages(bare, tuned)
        source, target = source or known[0], target or known[1]
    is_told = not bare.languages or target is not None  # else each text has to be
    codec = bare.between(source, target) if is_told else bare
    if prefix is not None:
        return codec
    return codec if usage is None else _with_tuned_words(codec, bare, usage)


def folder_languages(folder: Path) -> tuple[str, str]:
    """Plain codes of source and target, as a model folder names them; "" where it does not.

    Raises:
        ModelError: A file is broken.
    """
    usage = read_usage(folder)
    if usage is not None and usage.source and usage.target:
        return usage.source, usage.target
    settings = read_json_object(folder / _TOKENIZER)
    source = settings.get("source_lang") or settings.get("src_lang") or ""
    target = settings.get("target_lang") or settings.get("tgt_lang") or ""
    return plain_code(str(source)), plain_code(str(target))


def set_languages(model: Any, codec: TextCodec) -> None:
    """Tell a model in memory the languages of its codec, where transformers 5 reads them."""
    generation = model.generation_config
    if codec.forced_bos_token_id is not None:
        generation.forced_bos_token_id = codec.forced_bos_token_id
    if codec.decoder_start_token_id is not None:
        generation.decoder_start_token_id = codec.decoder_start_token_id
        model.config.decoder_start_token_id = codec.decoder_start_token_id
    if codec.pair.target_code is not None:
        # Old checkpoints have it in config.json, of another target perhaps.
        vars(model.config).pop("forced_bos_token_id", None)


def _default_languages(codec: TextCodec, folder: Path) -> tuple[str | None, str | None]:
    """The languages that the folder was made for, as far as its codec knows them."""
    source, target = folder_languages(folder)
    if codec.languages:
        if not target:
            target = _forced_language(codec, folder)
        if not match_language(target, codec.languages):
            return None, None  # such as ROMANCE: one of many has to be chosen
        if read_usage(folder) is None and not source:
            return None, None
    return source or None, target or None


def _forced_language(codec: TextCodec, folder: Path) -> str:
    """The language whose token generation begins with; "" where there is none."""
    for name in _GENERATION:
        forced = read_json_object(folder / name).get("forced_bos_token_id")
        if isinstance(forced, int):
            token = codec.target_tokens([forced])[0]
            return token.strip("_") if token.strip("_") in codec.languages else ""
    return ""


def _with_tuned_words(codec: TextCodec, bare: TextCodec, usage: Usage) -> TextCodec:
    """The codec with the words that the folder was tuned with, unless they are the family's own."""
    if bare.languages and usage.target is None:
        return codec
    family = bare.between(usage.source, usage.target)
    if family.source_prefix == usage.prefix:
        return codec
    token = family.with_prefix("").source_prefix
    return codec.with_prefix(usage.prefix.removeprefix(token))


def _write_json(values: Any, file: Path) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")
