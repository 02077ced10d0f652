"""Tiny checkpoints of each family: the real tokenizer class, random weights, a few pieces."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece

ENGLISH = [
    "Open the file",
    "Save the file as %1",
    "Close all windows",
    "The kernel restarts now",
    "Delete file?",
]
FRENCH = [
    "Ouvrir le fichier",
    "Enregistrer le fichier sous %1",
    "Fermer toutes les fenêtres",
    "Le noyau redémarre",
    "Supprimer le fichier ?",
]

_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.3,  # large weights: clear preferences
}
_T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "initializer_factor": 3.0,
}


@dataclass(frozen=True)
class Kind:
    """A family with its tokenizer, and how its documentation wants it used.

    Attributes:
        model_type: Of the configuration.
        source: The checkpoint's code of English; "" where it tells no languages apart.
        target: That of French.
        prefix: Text that its users put before each source.
        settings: Of the configuration.
    """

    model_type: str
    source: str = ""
    target: str = ""
    prefix: str = ""
    settings: tuple[tuple[str, Any], ...] = ()


T5_PREFIX = "translate English to French: "
_GATED = (("feed_forward_proj", "gated-gelu"), ("tie_word_embeddings", False))
KINDS = {
    "marian-multi": Kind("marian", "", "fra", ">>fra<< "),
    "m2m100": Kind("m2m_100", "en", "fr"),
    "nllb": Kind("m2m_100", "eng_Latn", "fra_Latn"),
    "mbart": Kind("mbart", "en_XX", "fr_XX"),
    "mbart50": Kind("mbart", "en_XX", "fr_XX"),
    "t5": Kind("t5", prefix=T5_PREFIX),
    "flan-t5": Kind("t5", prefix=T5_PREFIX, settings=_GATED),
    "madlad": Kind("t5", "", "fr", "<2fr> ", settings=_GATED),
    "mt5": Kind("mt5"),
    "umt5": Kind("umt5"),
    "byt5": Kind("t5", settings=_GATED),
    "bart": Kind("bart"),
    "pegasus": Kind("pegasus"),
}


def write_checkpoint(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of a kind as it is published: no languages are chosen."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    write_tokenizer(kind, folder)
    tokenizer = plain_tokenizer(folder, kind)
    is_marian = kind == "marian-multi"
    size = len(tokenizer)
    if kind == "m2m100":
        size = max(tokenizer.lang_token_to_id.values()) + 1 + tokenizer.num_madeup_words
    model_type = KINDS[kind].model_type
    starts_with_pad = is_marian or model_type in ("t5", "mt5", "umt5", "pegasus")
    start = tokenizer.pad_token_id if starts_with_pad else tokenizer.eos_token_id
    sizes = _T5 if model_type in ("t5", "mt5", "umt5") else _BART
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        model_type,
        **sizes,
        vocab_size=size + 3,  # published ones have more rows than tokens
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=None if kind == "mbart" else start,
        **dict(KINDS[kind].settings),
    )
    model = AutoModelForSeq2SeqLM.from_config(config)
    if is_marian:
        model.generation_config.bad_words_ids = [[tokenizer.pad_token_id]]
    model.save_pretrained(folder)
    return folder


def plain_tokenizer(folder: Path, kind: str, *, is_set: bool = True) -> Any:
    """The tokenizer as a user of transformers loads it, with its languages set."""
    from transformers import AutoTokenizer

    known = KINDS[kind]
    languages = {"src_lang": known.source, "tgt_lang": known.target}
    given = languages if is_set and known.source else {}
    return AutoTokenizer.from_pretrained(folder, **given)


def write_tokenizer(kind: str, folder: Path) -> None:
    """Train a few pieces and save them through the family's tokenizer class."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    if kind == "marian-multi":
        _write_marian(folder)
    elif kind == "m2m100":
        _write_m2m100(folder)
    elif kind == "byt5":
        transformers.ByT5Tokenizer().save_pretrained(folder)
    elif kind == "nllb":
        vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
        pieces = [piece for piece, _ in _train(folder / "raw.model", model_type="bpe")[3:]]
        letters = [p for p in pieces if len(p) == 1]
        vocabulary |= {p: i for i, p in enumerate([*letters, *_MERGED], start=4)}
        transformers.NllbTokenizer(
            vocab=vocabulary, merges=[(merged[:-1], merged[-1]) for merged in _MERGED]
        ).save_pretrained(folder)
    elif kind == "bart":
        from tokenizers.pre_tokenizers import ByteLevel

        tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
        vocabulary = {token: i for i, token in enumerate(tokens)}
        transformers.BartTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    else:
        _write_unigram(kind, folder)
    (folder / "raw.model").unlink(missing_ok=True)


# Pairs that join, each with the letter after it.
_MERGED = ["▁t", "▁th", "▁the", "▁l", "▁le", "▁f", "▁fi"]


def _train(file: Path, **options: Any) -> list[tuple[str, float]]:
    """Train a sentencepiece model; gives its pieces with their scores."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*ENGLISH, *FRENCH] * 4),
        model_writer=model,
        vocab_size=110,
        hard_vocab_limit=options.get("model_type") == "bpe",
        minloglevel=2,
        **options,
    )
    file.write_bytes(model.getvalue())
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.get_piece_size())]


def _write_marian(folder: Path) -> None:
    pieces = _train(folder / "source.spm", bos_id=-1, eos_id=0, unk_id=1)
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    codes = [">>fra<<", ">>oci<<", ">>pt_br<<"]
    order = ["</s>", "<unk>", *codes, *(piece for piece, _ in pieces[2:]), "<pad>"]
    vocabulary = {token: i for i, token in enumerate(order)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "ROMANCE"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_m2m100(folder: Path) -> None:
    from transformers import M2M100Tokenizer
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    model = folder / "raw.model"
    pieces = [piece for piece, _ in _train(model, model_type="bpe")[3:]]
    vocabulary = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    (folder / "raw.json").write_text(json.dumps(vocabulary))
    M2M100Tokenizer(
        str(folder / "raw.json"),
        str(model),
        # As in the published special_tokens_map.json.
        additional_special_tokens=[f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
    ).save_pretrained(folder)
    (folder / "raw.json").unlink()


def _write_unigram(kind: str, folder: Path) -> None:
    import transformers

    is_mbart = kind in ("mbart", "mbart50")
    places: dict[str, Any] = (
        {} if is_mbart else {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    )
    if kind == "madlad":
        places |= {
            "user_defined_symbols": ["<2en>", "<2fr>", "<2pt>", "<2sr_Latn>", "<2translate>"]
        }
    name = "sentencepiece.bpe.model" if is_mbart else "spiece.model"
    _train(folder / name, **places)
    classes = {
        "mbart": transformers.MBartTokenizer,
        "mbart50": transformers.MBart50Tokenizer,
        "pegasus": transformers.PegasusTokenizer,
    }
    tokenizer = classes.get(kind, transformers.T5Tokenizer).from_pretrained(folder)
    tokenizer.save_pretrained(folder)
