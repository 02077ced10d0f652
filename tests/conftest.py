"""A tiny Marian model that has learned five strings by heart, and the folder it lies in."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pairs import PAIRS

# Keras reads these when it is imported, and writes its settings into its home.
_KERAS_HOME = TemporaryDirectory(prefix="attuner-keras-")
os.environ |= {"KERAS_BACKEND": "torch", "KERAS_HOME": _KERAS_HOME.name}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup` a file stays with one process, and so does the demo's run."""
    for item in items:
        uses_demo = "demo_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("demo" if uses_demo else str(item.path)))


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model; the row of its pad token is zero, as Marian has it."""
    folder = tmp_path_factory.mktemp("marian")
    _write_tokenizer(folder)
    model = _learn(folder)
    _save(model, folder, pad_row=0.0)
    return folder


@pytest.fixture(scope="session")
def moved_marian(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as plain fine-tuning leaves it: the row of its pad token is not zero."""
    from attuner.models.loading import load_seq2seq

    folder = tmp_path_factory.mktemp("moved") / "marian"
    shutil.copytree(marian, folder)
    _save(load_seq2seq(folder), folder, pad_row=0.7)
    return folder


@dataclass(frozen=True)
class DemoRun:
    """What `attuner demo --json` did.

    Attributes:
        folder: The folder that it ran in.
        result: What it printed.
        peak_bytes: The most memory that it held.
    """

    folder: Path
    result: dict[str, Any]
    peak_bytes: int


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo, run once for all tests that want it: it takes minutes."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "ATTUNER_CACHE": str(folder / ".cache")}
    done = subprocess.run(
        [sys.executable, "-c", _NOTING_MEMORY, "demo", "--json"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    peak_kilobytes = int((folder / "peak.txt").read_text())
    return DemoRun(folder, json.loads(done.stdout), peak_kilobytes * 1024)


# The process reads its own peak. What the system tells its parent (ru_maxrss) begins with the
# size of the parent: on Linux it outlives exec, and this process has run hundreds of tests.
_NOTING_MEMORY = """
import atexit, re
from pathlib import Path
from attuner.cli import main

def note():
    status = Path("/proc/self/status").read_text()
    Path("peak.txt").write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1))

atexit.register(note)
main()
"""


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests neither read nor fill the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTUNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATTUNER_CACHE", str(folder))
    return folder


def _write_tokenizer(folder: Path) -> None:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*PAIRS, *PAIRS.values()] * 4),
        model_writer=model,
        vocab_size=90,
        bos_id=-1,
        eos_id=0,
        unk_id=1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model.getvalue())
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [*(spm.id_to_piece(i) for i in range(spm.get_piece_size())), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "fr"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _learn(folder: Path) -> Any:
    import torch
    from transformers import MarianConfig, MarianMTModel

    from attuner.models.codec import load_codec

    codec = load_codec(folder)
    size = len(json.loads((folder / "vocab.json").read_text()))
    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=size,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=64,
            activation_function="swish",
            scale_embedding=True,
            dropout=0.0,
            pad_token_id=codec.pad_token_id,
            eos_token_id=codec.eos_token_id,
            decoder_start_token_id=codec.pad_token_id,
            forced_eos_token_id=codec.eos_token_id,
            bad_words_ids=None,
        )
    )
    model.generation_config.bad_words_ids = [[codec.pad_token_id]]
    model.generation_config.num_beams = 2
    batch = {
        "input_ids": _padded(codec.encode_source(list(PAIRS)).to_lists(), codec.pad_token_id),
        "labels": _padded(codec.encode_target(list(PAIRS.values())).to_lists(), -100),
    }
    batch["attention_mask"] = (batch["input_ids"] != codec.pad_token_id).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.model.shared.weight[codec.pad_token_id] = 0
    # Checkpoints of old have an output bias that is not zero.
    model.final_logits_bias.normal_(std=0.05)
    return model.eval()


def _padded(rows: list[list[int]], fill: int) -> Any:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def _save(model: Any, folder: Path, *, pad_row: float) -> None:
    import torch

    with torch.no_grad():
        row = model.model.shared.weight[model.config.pad_token_id]
        row.copy_(pad_row * torch.randn(row.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(folder)


@pytest.fixture(params=["native", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The own kernels, then None: what uses them must give the same either way."""
    from attuner.kernels import native

    native.cache_clear()
    if request.param == "plain":
        monkeypatch.setenv("ATTUNER_KERNELS", "none")
    found = native()
    if found is None and request.param == "native":
        pytest.skip("no C++ compiler for the kernels here")
    yield found
    native.cache_clear()
