"""Codecs give the ids of the checkpoint's own tokenizer."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from attuner.errors import ModelError
from attuner.models.codec import MarianCodec, TransformersCodec, load_codec

SHARED = Path(__file__).parents[2] / "../shared"

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
# What tokenizers stumble over: nothing, unknown letters, joined marks, no-break spaces.
ODD = ["", " ", "a", "漢字 Open", "Ouvrir\u00a0: %1", "e\u0301té", "🙂🙂 the", "\u2028", "x" * 300]


def train_spm(sentences: list[str], file: Path, vocabulary: int) -> list[str]:
    """Write a sentencepiece model as Marian uses them; gives its pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4),
        model_writer=model,
        vocab_size=vocabulary,
        model_type="unigram",
        bos_id=-1,
        eos_id=0,
        unk_id=1,
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file.write_bytes(model.getvalue())
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [spm.id_to_piece(i) for i in range(spm.get_piece_size())]


def write_folder(folder: Path, *, separate: bool = False, **settings: Any) -> Path:
    """A Marian tokenizer folder: two sentencepiece models and a shuffled vocabulary."""
    folder.mkdir(exist_ok=True)
    english = train_spm(ENGLISH, folder / "source.spm", 60)
    french = train_spm(FRENCH, folder / "target.spm", 60)
    if separate:
        sides = {"vocab.json": english, "target_vocab.json": french}
    else:
        sides = {"vocab.json": [">>fra<<", "漢字", *english, *french]}
    for name, pieces in sides.items():
        # The last piece of each side is left out: sentencepiece knows it, the vocabulary not.
        others = sorted(set(pieces[:-1]) - {"</s>", "<unk>"}, key=lambda p: p[::-1])
        order = ["</s>", "<unk>", *others, "<pad>"]
        if separate:
            order = ["</s>", "<unk>", "<pad>", *others]
        (folder / name).write_text(json.dumps({p: i for i, p in enumerate(order)}))
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": "en",
        "target_lang": "fr",
        "separate_vocabs": separate,
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def reference(folder: Path) -> Any:
    from transformers import MarianTokenizer

    return MarianTokenizer.from_pretrained(folder)


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("separate", [False, True])
def test_ids_equal_marian_tokenizers(tmp_path: Path, separate: bool) -> None:
    folder = write_folder(tmp_path, separate=separate)
    codec, theirs = load_codec(folder), reference(folder)
    assert isinstance(codec, MarianCodec)
    sources = [*ENGLISH, *FRENCH, *ODD, ">>fra<< Open the file", ">>xyz<<Open", ">> no code"]
    targets = [*FRENCH, *ENGLISH, *ODD]
    source_ids = codec.encode_source(sources).to_lists()
    assert source_ids == theirs(sources)["input_ids"]
    target_ids = codec.encode_target(targets).to_lists()
    assert target_ids == theirs(text_target=targets)["input_ids"]
    assert codec.decode(target_ids) == theirs.batch_decode(target_ids, skip_special_tokens=True)
    assert (codec.pad_token_id, codec.eos_token_id, codec.unk_token_id) == (
        theirs.pad_token_id,
        theirs.eos_token_id,
        theirs.unk_token_id,
    )
    row = source_ids[0]
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert [vocabulary[token] for token in codec.source_tokens(row)] == row


@pytest.mark.filterwarnings("ignore:Recommended")
def test_ids_equal_marian_tokenizers_after_cutting(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    theirs = reference(folder)
    texts = [
        *ENGLISH,
        *ODD,
        ">>fra<< " + ENGLISH[0],
        " ".join([*ENGLISH, "漢字 語 漢字", "語語"] * 3),
    ]
    ours = load_codec(folder).encode_source(texts).cut(9)
    assert ours.to_lists() == theirs(texts, max_length=9, truncation=True)["input_ids"]
    assert max(ours.lengths) == 9


@pytest.mark.filterwarnings("ignore:Recommended")
def test_pieces_of_the_other_side_are_found_by_their_spelling(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    codec = load_codec(folder)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    # The source model knows no Chinese; the joint vocabulary has the word.
    assert vocabulary["漢字"] in codec.encode_source(["漢字"])[0]
    assert codec.unk_token_id in codec.encode_source(["語"])[0]
    assert codec.encode_source([">>fra<< Open"])[0][0] == vocabulary[">>fra<<"]
    # Among other lines, and several in one, each unknown piece is looked up by its own spelling.
    texts = ["Open", "語 漢字 語", "", "漢字 Open", ">>fra<<漢字"]
    assert codec.encode_source(texts).to_lists() == reference(folder)(texts)["input_ids"]


def test_no_texts_and_texts_of_nothing(tmp_path: Path) -> None:
    codec = load_codec(write_folder(tmp_path))
    assert codec.encode_source([]).to_lists() == []
    assert codec.encode_target(["", " "]).to_lists() == [[codec.eos_token_id]] * 2


def test_special_tokens_in_a_users_text_are_text(tmp_path: Path) -> None:
    codec = load_codec(write_folder(tmp_path))
    for text in ("</s>", "Open </s> the file", "<pad>", "a<pad>", "<unk>"):
        for column in (codec.encode_source([text]), codec.encode_target([text])):
            (ids,) = column.to_lists()
            assert ids[-1] == codec.eos_token_id
            assert codec.eos_token_id not in ids[:-1]
            assert codec.pad_token_id not in ids


@pytest.mark.skipif(
    not (SHARED / "models/en-fr-base").is_dir(), reason="no real model beside the repository"
)
@pytest.mark.filterwarnings("ignore:Recommended")
def test_ids_equal_marian_tokenizers_on_real_strings() -> None:
    folder = SHARED / "models/en-fr-base"
    codec, theirs = load_codec(folder), reference(folder)
    with gzip.open(SHARED / "data/kde-en-fr.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line)["translation"] for line in lines][::60]
    specials = ("</s>", "<unk>", "<pad>")
    rows = [r for r in rows if not any(s in r["en"] + r["fr"] for s in specials)]
    english, french = [r["en"] for r in rows], [r["fr"] for r in rows]
    assert codec.encode_source(english).to_lists() == theirs(english)["input_ids"]
    ids = codec.encode_target(french).to_lists()
    assert ids == theirs(text_target=french)["input_ids"]
    assert codec.decode(ids) == theirs.batch_decode(ids, skip_special_tokens=True)


def test_reading_and_encoding_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    code = (
        "import sys; from pathlib import Path; from attuner.models.codec import load_codec\n"
        f"codec = load_codec(Path({str(folder)!r}))\n"
        "codec.decode(codec.encode_target(['Open']).to_lists())\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_old_checkpoints_name_only_the_architecture(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "tokenizer_config.json").write_text('{"source_lang": "en", "target_lang": "fr"}')
    (folder / "config.json").write_text('{"model_type": "marian"}')
    assert isinstance(load_codec(folder), MarianCodec)


@pytest.mark.filterwarnings("ignore:Recommended")
def test_added_tokens_go_through_transformers(tmp_path: Path) -> None:
    added = {
        "70": {"content": "<term>", "special": False, "normalized": False},
        "0": {"content": "</s>", "special": True},
    }
    folder = write_folder(tmp_path, added_tokens_decoder=added)
    codec = load_codec(folder)
    assert isinstance(codec, TransformersCodec)
    ids = codec.encode_source(["Open <term>"]).to_lists()
    assert ids == reference(folder)(["Open <term>"])["input_ids"]
    assert codec.source_tokens(ids[0])[-2:] == ["<term>", "</s>"]


def test_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "marian"}')
    with pytest.raises(ModelError) as caught:
        load_codec(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no tokenizer found.\n"
        "Looked for source.spm, target.spm, vocab.json, tokenizer.json, spiece.model, "
        "sentencepiece.bpe.model, spm.model, tokenizer.model, vocab.txt, merges.txt.\n"
        "Copy the tokenizer's files from the checkpoint that the model was made from, or save "
        "them there with tokenizer.save_pretrained(FOLDER)."
    )


def test_half_a_tokenizer(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, separate=True)
    (folder / "source.spm").unlink()
    (folder / "target_vocab.json").unlink()
    with pytest.raises(ModelError) as caught:
        load_codec(folder)
    assert str(caught.value) == (
        f"{folder}: the tokenizer lacks source.spm, target_vocab.json.\n"
        "A Marian tokenizer consists of source.spm, target.spm, vocab.json, target_vocab.json.\n"
        "Copy the missing files from the checkpoint that the model was made from."
    )


def test_broken_tokenizer_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "source.spm").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"source\.spm: not a readable sentencepiece model\."):
        load_codec(folder)
    (folder / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match=r"vocab\.json: not readable as JSON"):
        load_codec(folder)
