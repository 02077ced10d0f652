"""Converted engines are kept, checked by content, made again when broken."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attuner.inference.cache import cached_engine, engine_key
from attuner.models.codec import load_codec


def test_the_key_follows_the_content(marian: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(marian, copied)
    key = engine_key(marian, "float32")
    assert engine_key(copied, "float32") == key
    assert engine_key(copied, "int8") != key
    (copied / "README.md").write_text("words do not matter")
    assert engine_key(copied, "float32") == key
    for name in ("model.safetensors", "vocab.json", "source.spm", "generation_config.json"):
        before = engine_key(copied, "float32")
        with (copied / name).open("ab") as file:
            file.write(b" ")
        assert engine_key(copied, "float32") != before


def test_converted_once_and_again_when_broken(
    marian: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codec = load_codec(marian)
    expected = cached_engine(marian, codec).generate(["Open the file"])
    (entry,) = (cache / "engines").iterdir()

    with monkeypatch.context() as patch:
        patch.setattr("attuner.inference.conversion.convert", None)  # calling it would fail
        assert cached_engine(marian, codec).generate(["Open the file"]) == expected

    caplog.set_level(logging.INFO, logger="attuner")
    for name, content in {
        "model.bin": (entry / "model.bin").read_bytes()[:5000],
        "shared_vocabulary.json": b"{",
        "config.json": None,
    }.items():
        if content is None:
            (entry / name).unlink()
        else:
            (entry / name).write_bytes(content)
        assert cached_engine(marian, codec).generate(["Open the file"]) == expected
    assert "is broken and made again" in caplog.text
    assert [path.name for path in (cache / "engines").iterdir()] == [entry.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_done_without(marian: Path, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    engine = cached_engine(marian, load_codec(marian))
    assert engine.generate(["Open the file"])[0][0].text == "Ouvrir le fichier"


def test_a_file_in_place_of_the_cache_is_done_without(marian: Path, cache: Path) -> None:
    cache.write_text("not a folder")
    engine = cached_engine(marian, load_codec(marian))
    assert engine.generate(["Open the file"])[0][0].text == "Ouvrir le fichier"


def test_the_second_start_imports_neither_torch_nor_transformers(marian: Path, cache: Path) -> None:
    cached_engine(marian, load_codec(marian))
    code = (
        "import json, sys\n"
        "from attuner.inference.translator import load\n"
        f"text = load({str(marian)!r}).translate('Open the file')\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'sacrebleu'}\n"
        "print(json.dumps([text, sorted(heavy & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "ATTUNER_CACHE": str(cache)},
    )
    assert json.loads(done.stdout) == ["Ouvrir le fichier", []]
