"""Model folders made to do harm are refused with a reason, before anything is allocated or run."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from attuner.errors import ModelError
from attuner.inference.settings import read_settings
from attuner.models import json_files
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq, resolve_model

BEAMS = "width of the search is a whole number from 1 to 1000"
SIZE = "size is a whole number from 0"
TOKEN = "token's id is a whole number from 0"
UNEXPECTED = "SentencePieceProcessor.__init__() got an unexpected keyword argument 'a'"
FROM_CHECKPOINT = "Copy the tokenizer's files from the checkpoint that the model was made from."
COPY_AGAIN = "Copy the file again from the checkpoint that the model was made from."


@pytest.fixture
def folder(marian: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(marian, tmp_path / "model"))


def change(file: Path, **values: object) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **values}))


def use(folder: Path) -> None:
    """The way that every use of a model goes."""
    resolve_model(str(folder))
    read_settings(folder)
    load_codec(folder)
    load_seq2seq(folder)


def error_of(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        use(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "auto_map"),
    [
        ("config.json", {"AutoModelForSeq2SeqLM": "modeling_evil.Evil"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["tokenization_evil.Evil", None]}),
        ("tokenizer_config.json", ["tokenization_evil.Evil", None]),
    ],
)
def test_code_of_its_own(folder: Path, name: str, auto_map: object) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit('it ran')")
    shutil.copyfile(folder / "modeling_evil.py", folder / "tokenization_evil.py")
    change(folder / name, auto_map=auto_map)
    assert error_of(folder) == (
        f"{folder / name} asks for code of its own: auto_map is {auto_map}.\n"
        "Attuner runs no code from a model folder (transformers' trust_remote_code is off).\n"
        "Choose a checkpoint of an architecture that transformers itself has."
    )


def safetensors(header: Mapping[str, Any] | bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(64)


def floats(shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


OVERLAPPING = {"a": floats([8], 0, 32), "b": floats([8], 16, 48)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "header too small", id="empty"),
        pytest.param(safetensors({}, 2**63), "header too large", id="2**63"),
        pytest.param(safetensors({}, 10**7), "invalid header length", id="beyond-the-end"),
        pytest.param(safetensors(OVERLAPPING), "invalid offset for tensor `b`", id="overlapping"),
        pytest.param(
            safetensors({"a": floats([2**62, 8], 0, 32)}),
            "overflow computing buffer size from shape and/or element type",
            id="huge-shape",
        ),
        pytest.param(
            safetensors({"a": floats([64], 0, 256)}),
            "incomplete metadata, file not fully covered",
            id="cut-short",
        ),
    ],
)
def test_hostile_safetensors(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert error_of(folder) == (
        f"{folder} cannot be loaded: Error while deserializing header: {said}\n"
        "Expected an encoder-decoder model that transformers' AutoModelForSeq2SeqLM loads."
    )


@pytest.mark.parametrize(
    "elsewhere", ["../other.safetensors", "/etc/passwd", "absent.safetensors", "model.bin"]
)
def test_an_index_that_leads_elsewhere(folder: Path, elsewhere: str) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    shutil.copyfile(folder / "part.safetensors", folder.parent / "other.safetensors")
    (folder / "model.bin").touch()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors", "b": elsewhere}}))
    assert error_of(folder) == (
        f"{index}: weights are to be in {elsewhere}.\n"
        "An index names files *.safetensors beside it.\n"
        "Copy the index and its files again from the checkpoint."
    )


@pytest.mark.parametrize(
    "name", ["d_model", "encoder_ffn_dim", "vocab_size", "max_position_embeddings"]
)
def test_absurd_sizes(folder: Path, name: str) -> None:
    change(folder / "config.json", **{name: 10**9})
    said = error_of(folder).splitlines()
    assert said[0].startswith(
        f"{folder / 'config.json'}: {name} is 1000000000, but the weights are "
    )
    assert said[0].endswith(" numbers.")
    assert said[1:] == [
        "The configuration describes the weights beside it.",
        "Copy both again from one checkpoint.",
    ]


def test_absurdly_many_layers(folder: Path) -> None:
    change(folder / "config.json", encoder_layers=10**9)
    assert error_of(folder) == (
        f"{folder / 'config.json'}: encoder_layers is 1000000000, but the weights are 44 tensors.\n"
        "The configuration describes the weights beside it.\n"
        "Copy both again from one checkpoint."
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"d_model": "x"}, "Validation error for field 'd_model':"),
        ({"encoder_attention_heads": 0}, "integer division or modulo by zero"),
        ({"model_type": [1]}, "unhashable type: 'list'"),
        ({"dtype": "os.system"}, "module 'torch' has no attribute 'os.system'"),
        ({"activation_function": "__import__"}, "'__import__'"),
        ({"pad_token_id": 10**9}, "Padding_idx must be within num_embeddings"),
    ],
)
def test_absurd_configurations(folder: Path, values: dict[str, Any], said: str) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(ModelError) as caught:
        load_seq2seq(folder)
    assert str(caught.value) == (
        f"{folder} cannot be loaded: {said}\n"
        "Expected an encoder-decoder model that transformers' AutoModelForSeq2SeqLM loads."
    )


@pytest.mark.parametrize(
    ("values", "said", "expected"),
    [
        ({"num_beams": "four"}, "num_beams is 'four'", BEAMS),
        ({"num_beams": 10**9}, "num_beams is 1000000000", BEAMS),
        ({"length_penalty": []}, "length_penalty is []", "penalty is a number"),
        ({"min_length": -1}, "min_length is -1", "length is a whole number from 0"),
        ({"repetition_penalty": -1}, "repetition_penalty is -1", "penalty is a number above 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1", SIZE),
        ({"forced_bos_token_id": "x"}, "forced_bos_token_id is 'x'", TOKEN),
    ],
)  # fmt: skip
def test_absurd_settings(folder: Path, values: dict[str, Any], said: str, expected: str) -> None:
    change(folder / "generation_config.json", **values)
    article = "A" if expected.startswith("token") else "The"
    assert error_of(folder) == (
        f"{folder}: {said}.\n{article} {expected}.\n"
        "Copy config.json and generation_config.json again from the checkpoint."
    )


@pytest.mark.parametrize("words", [5, [["x"]], [5]])
def test_bad_words_that_are_none(folder: Path, words: object) -> None:
    change(folder / "generation_config.json", bad_words_ids=words)
    assert error_of(folder) == (
        f"{folder}: bad_words_ids is {words!r}.\nIt is a list of lists of tokens' ids.\n"
        "Copy config.json and generation_config.json again from the checkpoint."
    )


def test_a_sentencepiece_model_of_garbage(folder: Path) -> None:
    (folder / "source.spm").write_bytes(b"garbage" * 99)
    assert error_of(folder) == (
        f"{folder / 'source.spm'}: not a readable sentencepiece model.\n"
        f"INTERNAL: could not parse ModelProto from {folder / 'source.spm'}\n{COPY_AGAIN}"
    )


VOCABULARY = "A vocabulary has up to 1,000,000 pieces, with whole numbers from 0 as ids."


@pytest.mark.parametrize("number", [-2, 2**40, "0", 1.5, None, True])
def test_ids_that_are_none(folder: Path, number: object) -> None:
    change(folder / "vocab.json", x=number)
    assert error_of(folder) == (
        f"{folder / 'vocab.json'}: the id of 'x' is {number!r}.\n{VOCABULARY}\n{FROM_CHECKPOINT}"
    )


def test_a_huge_vocabulary(folder: Path) -> None:
    file = folder / "vocab.json"
    file.write_text("{" + ",".join(f'"{n}":{n}' for n in range(1_000_001)) + "}")
    assert error_of(folder) == f"{file}: 1,000,001 pieces.\n{VOCABULARY}\n{FROM_CHECKPOINT}"


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer.json", "config.json"])
def test_a_huge_file_is_not_read(folder: Path, name: str) -> None:
    if name == "tokenizer.json":
        for other in ("vocab.json", "source.spm", "target.spm"):
            (folder / other).unlink()
    with (folder / name).open("wb") as opened:
        opened.truncate(2**40)  # a hole: it takes no room on the disk
    assert error_of(folder) == (
        f"{folder / name} has {2**40} bytes.\n"
        f"The files beside the weights have up to 64 MiB each.\n{COPY_AGAIN}"
    )


@pytest.mark.parametrize("token", [5, ["a"], {"content": 5}, {"x": 1}, "a" * 1001])
@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_special_tokens_that_are_none(folder: Path, name: str, token: Any) -> None:
    change(folder / name, eos_token=token)
    shown = token.get("content") if isinstance(token, dict) else token
    assert error_of(folder) == (
        f"{folder}: eos_token in the tokenizer's configuration has the token {shown!r:.60}.\n"
        f"A token is a text of up to 1000 characters.\n{FROM_CHECKPOINT}"
    )


def test_added_tokens_that_are_none(folder: Path) -> None:
    change(folder / "tokenizer_config.json", added_tokens_decoder=["x"])
    assert error_of(folder) == (
        f"{folder / 'tokenizer_config.json'}: added_tokens_decoder is ['x'].\n"
        f"It is an object with a token for each id.\n{FROM_CHECKPOINT}"
    )


@pytest.mark.parametrize("number", [-5, 999_999_999])
def test_added_tokens_with_absurd_ids(folder: Path, number: int) -> None:
    change(folder / "added_tokens.json", **{"<z>": number})
    assert error_of(folder) == (
        f"{folder}: the id of '<z>' is {number}.\n{VOCABULARY}\n{FROM_CHECKPOINT}"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tokenizer_class": 5}, "'int' object has no attribute 'removesuffix'"),
        ({"sp_model_kwargs": {"a": 1}}, UNEXPECTED),
    ],
)  # fmt: skip
def test_absurd_tokenizer_configurations(folder: Path, values: dict[str, Any], said: str) -> None:
    change(folder / "tokenizer_config.json", **values)
    assert error_of(folder) == (
        f"{folder}: the tokenizer cannot be loaded: {said}\n"
        "A tokenizer as tokenizer.save_pretrained(FOLDER) writes it, without own code.\n"
        f"{FROM_CHECKPOINT}"
    )


@pytest.mark.parametrize("longest", ["x", -5, 1e300])
def test_the_longest_text_that_a_tokenizer_claims_cuts_nothing(folder: Path, longest: Any) -> None:
    change(
        folder / "tokenizer_config.json",
        model_max_length=longest,
        sp_model_kwargs={"nbest_size": 0},
    )
    codec = load_codec(folder)
    assert codec.encode_source(["Open the file"]).lengths[0] > 1


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_json_with_constants_that_are_none(folder: Path, constant: str) -> None:
    file = folder / "generation_config.json"
    file.write_text(f'{{"length_penalty": {constant}}}')
    assert error_of(folder) == (
        f"{file}: not readable as JSON: {constant} is no JSON.\n{COPY_AGAIN}"
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "vocab.json"])
def test_deep_json(folder: Path, name: str) -> None:
    (folder / name).write_text("[" * 200_000)
    said = error_of(folder)
    assert said.startswith(f"{folder / name}: not readable as JSON: maximum recursion depth")
    assert said.endswith(f".\n{COPY_AGAIN}")


def test_the_bound_of_files_is_above_those_of_known_tokenizers() -> None:
    assert json_files.LONGEST_FILE > 35e6
