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
    "Delete the selected item?",
    "Show hidden files",
    "Undo",
    "Select all",
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
    rows = [f'{{"translation": {{"en": "{s}", "fr": "{s}"}}}}\n' for s in STRINGS]
    data.write_text("".join(rows))
    arguments = ["parity.py", str(marian), "--data", str(data), "--n", "5", "--beams", "1", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    parity.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"5 strings of {data}, {marian}"
    assert [line.split()[0] for line in lines[2:]] == ["transformers", "ctranslate2"] * 2
    assert lines[3].split()[4] == "100.0%"  # greedy


@pytest.mark.slow
def test_the_embedded_model_is_at_parity_on_1000_real_strings(parity: ModuleType) -> None:
    pytest.importorskip("jupyterlab_language_pack_fr_FR", reason="the demo extra brings it")
    pairs = parity.read_pairs("package:jupyterlab-language-pack-fr-FR", "en", "fr", 1000, 0)
    sources, references = zip(*pairs, strict=True)
    folder = resolve_model("embedded:en-fr")
    codec, model = load_codec(folder), load_seq2seq(folder)
    reference, candidate = TransformersEngine(model, codec), engine_from_model(model, codec)

    def compare(num_beams: int) -> Any:
        return parity.compare(
            reference, candidate, sources, references, target_language="fr", num_beams=num_beams
        )

    assert len(pairs) == 1000
    assert compare(1).identical >= 99.5
    beam = compare(4)
    assert abs(beam.candidate.bleu - beam.reference.bleu) < 0.1
    # The search maximises the log-probability per token. The engines stop by different rules:
    # equal to three digits is what can be had.
    gain = beam.candidate.log_probability_per_token - beam.reference.log_probability_per_token
    assert gain > -0.001
