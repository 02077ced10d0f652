from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from attuner.models import fingerprint
from attuner.models.fingerprint import tokenizer_fingerprint


def test_the_fingerprint_follows_the_tokenizers_content(marian: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(marian, copied)
    first = tokenizer_fingerprint(marian)
    assert tokenizer_fingerprint(copied) == first
    for name in ("README.md", "card.json", "model.safetensors"):
        (copied / name).write_bytes(b"neither words nor cards nor weights matter")
    assert tokenizer_fingerprint(copied) == first
    for name in ("vocab.json", "source.spm", "tokenizer_config.json", "merges.txt", "new.model"):
        before = tokenizer_fingerprint(copied)
        with (copied / name).open("ab") as file:
            file.write(b" ")
        assert tokenizer_fingerprint(copied) != before
    (copied / "merges.txt").rename(copied / "vocab.txt")
    assert tokenizer_fingerprint(copied) not in (first, before)


def test_the_fingerprint_follows_the_libraries(
    marian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tokenizer_fingerprint(marian)
    monkeypatch.setattr(fingerprint, "version", lambda name: f"{name} of tomorrow")
    assert tokenizer_fingerprint(marian) != first
