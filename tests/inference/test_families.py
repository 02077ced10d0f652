"""Both engines give the same for each family that CTranslate2 converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import ENGLISH, FRENCH, KINDS, plain_tokenizer, write_checkpoint

from attuner.errors import ModelError
from attuner.inference.conversion import CONVERTIBLE
from attuner.inference.ctranslate2_engine import engine_from_model
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import TransformersCodec, load_codec
from attuner.models.loading import load_seq2seq
from attuner.models.usage import set_languages

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "fr_XX", *(f"w{i}" for i in range(45))]
LINES = [" ".join(f"w{(i * j + 3) % 45}" for j in range(1 + i % 7)) for i in range(12)]

_TOKENS = {
    "vocab_size": len(WORDS),
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_BART = {
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
_T5 = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "initializer_factor": 3.0,
}


def write_folder(family: str, folder: Path, *, forced_bos_token_id: int | None) -> None:
    """A model of the family with random weights and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = _T5 if family in ("t5", "mt5", "umt5") else _BART
    config = AutoConfig.for_model(family, **sizes, **_TOKENS)
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.generation_config.forced_bos_token_id = forced_bos_token_id
    if forced_bos_token_id is None:
        model.generation_config.bad_words_ids = [[7], [8, 9]]
    model.save_pretrained(folder)


@pytest.mark.parametrize("forced_bos_token_id", [None, 4])
@pytest.mark.parametrize("family", sorted(set(CONVERTIBLE) - {"marian"}))
def test_engines_agree(family: str, forced_bos_token_id: int | None, tmp_path: Path) -> None:
    write_folder(family, tmp_path, forced_bos_token_id=forced_bos_token_id)
    codec, model = load_codec(tmp_path), load_seq2seq(tmp_path)
    assert isinstance(codec, TransformersCodec)
    reference, fast = TransformersEngine(model, codec), engine_from_model(model, codec)
    expected = reference.generate(LINES, num_beams=1, max_new_tokens=12)
    made = fast.generate(LINES, num_beams=1, max_new_tokens=12)
    assert [m[0].token_ids for m in made] == [e[0].token_ids for e in expected]
    if forced_bos_token_id is not None:
        assert all(e[0].token_ids[0] == forced_bos_token_id for e in expected)
        # Equal choices can come from outputs of another scale; equal scores cannot. (Banned
        # words would blur this: transformers leaves them in the softmax.)
        scores = [e[0].score for e in expected]
        assert [m[0].score for m in made] == pytest.approx(scores, abs=0.01)


TEXTS = [*ENGLISH, *FRENCH, "a", "file the", "Delete all windows now"]
LONGEST = 12


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for checkpoints, each written when it is first asked for."""
    return tmp_path_factory.mktemp("checkpoints")


def checkpoint(kind: str, folder: Path) -> Path:
    if not (folder / kind).is_dir():
        write_checkpoint(kind, folder / kind)
    return folder / kind


def plain_generate(kind: str, folder: Path, texts: list[str]) -> list[list[int]]:
    """Greedy ids as the family's documentation has it: without end, padding and start."""
    from transformers import AutoModelForSeq2SeqLM

    tokenizer, known = plain_tokenizer(folder, kind), KINDS[kind]
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    languages = {}
    if known.source:
        token = f"__{known.target}__" if kind == "m2m100" else known.target
        where = "decoder_start_token_id" if kind == "mbart" else "forced_bos_token_id"
        languages[where] = tokenizer.convert_tokens_to_ids(token)
    batch = tokenizer([known.prefix + text for text in texts], return_tensors="pt", padding=True)
    made = model.generate(**batch, num_beams=1, max_new_tokens=LONGEST, **languages)
    special = (tokenizer.eos_token_id, tokenizer.pad_token_id)
    # At the limit both engines end the text where plain `generate` goes on.
    return [[i for i in row[1:LONGEST] if i not in special] for row in made.tolist()]


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_generate_as_the_documentation_of_the_family(
    kind: str, checkpoints: Path
) -> None:
    folder = checkpoint(kind, checkpoints)
    codec, model = load_codec(folder).between("en", "fr"), load_seq2seq(folder)
    reference, fast = TransformersEngine(model, codec), engine_from_model(model, codec)
    expected = plain_generate(kind, folder, TEXTS)
    for engine in (reference, fast):
        made = engine.generate(TEXTS, num_beams=1, max_new_tokens=LONGEST)
        assert [list(hypotheses[0].token_ids) for hypotheses in made] == expected


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"marian-multi"}))
def test_scores_are_alike(kind: str, checkpoints: Path) -> None:
    folder = checkpoint(kind, checkpoints)
    codec, model = load_codec(folder).between("en", "fr"), load_seq2seq(folder)
    reference, fast = TransformersEngine(model, codec), engine_from_model(model, codec)
    sides = [
        [h[0].score for h in engine.generate(TEXTS, num_beams=1, max_new_tokens=LONGEST)]
        for engine in (reference, fast)
    ]
    assert sides[1] == pytest.approx(sides[0], abs=0.01)


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("kind", ["marian-multi", "m2m100", "nllb", "mbart", "mbart50", "madlad"])
def test_several_languages_share_an_engine(kind: str, checkpoints: Path) -> None:
    folder = checkpoint(kind, checkpoints)
    codec, model = load_codec(folder), load_seq2seq(folder)
    second = next(code for code in sorted(codec.languages) if code != KINDS[kind].target)
    engines = [TransformersEngine(model, codec), engine_from_model(model, codec)]
    options = {"num_beams": 2, "max_new_tokens": 8}
    made = [
        [
            [h[0].token_ids for h in engine.between("en", target).generate(TEXTS, **options)]
            for target in ("fr", second, "fr")
        ]
        for engine in engines
    ]
    for french, other, again in made:
        assert french == again
        assert french != other
    with pytest.raises(ModelError, match="and none was chosen"):
        engines[0].generate(TEXTS)
    with pytest.raises(ModelError, match="and none was chosen"):
        engines[1].generate(TEXTS)


@pytest.mark.parametrize("kind", ["nllb", "mbart", "mbart50"])
def test_a_model_told_its_languages_is_plain_transformers(
    kind: str, checkpoints: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM

    folder = checkpoint(kind, checkpoints)
    codec, model = load_codec(folder).between("en", "fr"), load_seq2seq(folder)
    set_languages(model, codec)
    model.save_pretrained(tmp_path)
    told = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    batch = plain_tokenizer(folder, kind)(TEXTS, return_tensors="pt", padding=True)
    made = told.generate(**batch, num_beams=1, max_new_tokens=LONGEST)
    special = (codec.eos_token_id, codec.pad_token_id)
    rows = [[i for i in row[1:LONGEST] if i not in special] for row in made.tolist()]
    assert rows == plain_generate(kind, folder, TEXTS)
