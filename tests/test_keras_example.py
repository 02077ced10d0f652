"""The example with Keras, from start to end: trained, scored, pushed, loaded by transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub.server import Hub
from pairs import PAIRS
from safetensors.torch import load, load_file

EXAMPLE = Path(__file__).parents[1] / "examples" / "keras_translation.py"


@pytest.mark.slow
def test_the_chapter_with_keras(marian: Path, tmp_path: Path) -> None:
    pairs = {f"{s} {n}": f"{t} {n}" for s, t in PAIRS.items() for n in "abcdefgh"}
    rows = [{"translation": {"en": source, "fr": target}} for source, target in pairs.items()]
    (tmp_path / "strings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--model", str(marian), "--data", "strings.jsonl", "--hub-id", "alice/keras"]
    with Hub() as hub:
        environment = {
            **os.environ, **hub.environment(tmp_path / "home"), "MPLBACKEND": "agg",
            "ATTUNER_CACHE": str(tmp_path / "cache"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), *asked],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
    lines = done.stdout.splitlines()
    (start,) = (place for place, line in enumerate(lines) if line.startswith("epoch   loss"))
    table = [line.split() for line in lines[start + 1 : start + 5]]
    assert [row[0] for row in table] == ["0", "1", "2", "3"]
    assert float(table[3][2]) < float(table[0][1])  # the loss on validation
    folder = tmp_path / "runs" / "keras-translation"
    weights = load_file(folder / "model.safetensors")
    pushed = load(hub.files("alice/keras")["model.safetensors"])
    assert weights.keys() == pushed.keys()
    assert all(pushed[name].equal(weight) for name, weight in weights.items())
    assert hub.repos["alice/keras"].messages[0] == "Training in progress, epoch 1"
