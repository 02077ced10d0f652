"""CTranslate2 against transformers on real strings, with the script that anyone can run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attuner.inference.ctranslate2_engine import engine_from_model
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq, resolve_model

ROOT = Path(__file__).parents[2]
STRINGS = [
    "Open the file",
    "Close all windows",
    "Default to expanded threads",
    "Delete the selected item?",
    "Unable to save the document to %1",
    "Show hidden files",
    "The kernel has died, restarting",
    "Do you want to overwrite the existing file %1?",
    "Select all",
    "Copy to clipboard",
    "Undo",
    "This plugin lets you translate web pages between several languages automatically.",
    "Connection refused by server %1 on port %2",
    "Edit the bookmark...",
    "New tab",
    "Zoom in",
    "Could not find the program that is needed to open this document",
    "Printing failed",
    "Check spelling while typing",
    "Move to trash",
    "Enter the name of the new folder:",
    "Number of lines to keep in memory",
    "Password",
    "Settings were saved",
    "Help",
]


@pytest.fixture(scope="module")
def parity() -> ModuleType:
    """The script `benchmarks/parity.py`."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "benchmarks/parity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_script_runs(
    parity: ModuleType,
    marian: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data.jsonl"
    rows = [f'{{"translation": {{"en": "{s}", "fr": "{s}"}}}}\n' for s in STRINGS[:6]]
    data.write_text("".join(rows))
    arguments = ["parity.py", str(marian), "--data", str(data), "--n", "5", "--beams", "1", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    parity.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"5 strings of data.jsonl, {marian}"
    assert [line.split()[0] for line in lines[2:]] == ["transformers", "ctranslate2"] * 2
    assert lines[3].split()[4] == "100.0%"  # greedy


@pytest.mark.slow
def test_the_embedded_model_is_at_parity(parity: ModuleType) -> None:
    folder = resolve_model("embedded:en-fr")
    codec, model = load_codec(folder), load_seq2seq(folder)
    reference, candidate = TransformersEngine(model, codec), engine_from_model(model, codec)

    def compare(num_beams: int) -> Any:
        return parity.compare(
            reference, candidate, STRINGS, STRINGS, target_language="fr", num_beams=num_beams
        )

    assert compare(1).identical == 100
    beam = compare(4)
    assert beam.identical >= 92  # two of the 25 may differ
    assert abs(beam.candidate.bleu - beam.reference.bleu) < 1.0  # few strings: coarse
    gain = beam.candidate.log_probability_per_token - beam.reference.log_probability_per_token
    assert gain > -0.005
