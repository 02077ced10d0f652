"""Scripts in the shape of the well-known chapters run with only their imports pointing here."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_classifiers import WORDS, write_encoder

CHAPTERS = Path(__file__).parent / "chapters"
_VERBS = {"Open": "Ouvrir", "Close": "Fermer", "Save": "Enregistrer", "Delete": "Supprimer"}
_THINGS = {
    "the file of the plugin": "le fichier du module",
    "the window of the editor": "la fenêtre de l'éditeur",
    "the folder of the threads": "le dossier des fils",
}

pytestmark = pytest.mark.slow


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def workplace(marian: Path, tmp_path: Path) -> Path:
    """A folder with what the chapters fetch: checkpoints and data sets, in small."""
    shutil.copytree(marian, tmp_path / "opus-mt-en-fr")
    pairs = [(f"{v} {t}", f"{w} {u}") for v, w in _VERBS.items() for t, u in _THINGS.items()]
    rows = [{"id": str(i), "translation": {"en": s, "fr": t}} for i, (s, t) in enumerate(pairs * 4)]
    write_rows(tmp_path / "kde4" / "strings.jsonl", rows)
    for name in ("bert-base-uncased", "bert-base-cased"):
        write_encoder(tmp_path / name)
    likes = [f"{WORDS[i % 2]} {WORDS[4 + i % 6]} {WORDS[6 + i % 9]}" for i in range(60)]
    mrpc = [
        {"sentence1": text, "sentence2": f"very {text}", "label": i % 2, "idx": i}
        for i, text in enumerate(likes)
    ]
    write_rows(tmp_path / "mrpc" / "train.jsonl", mrpc[:48])
    write_rows(tmp_path / "mrpc" / "validation.jsonl", mrpc[48:])
    reviews = [{"text": text, "label": 4 * (i % 2)} for i, text in enumerate(likes)]
    write_rows(tmp_path / "yelp_review_full" / "train.jsonl", reviews[:48])
    write_rows(tmp_path / "yelp_review_full" / "test.jsonl", reviews[48:])
    return tmp_path


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(CHAPTERS / script)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={
            **os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
            "HF_HOME": str(folder / "hf"), "ATTUNER_CACHE": str(folder / "cache"),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def said(output: str, word: str) -> Any:
    """The Python value printed behind a word."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{word} "))
    return ast.literal_eval(line.removeprefix(f"{word} "))


def test_translation_by_a_trainer(workplace: Path) -> None:
    done = run("translation_trainer.py", workplace)
    before, after = said(done.stdout, "before"), said(done.stdout, "after")
    assert after["eval_bleu"] > before["eval_bleu"] + 10
    assert after["eval_loss"] < before["eval_loss"]
    assert said(done.stdout, "translated") == [{"translation_text": "Fermer le fichier du module"}]
    lines = done.stderr.splitlines()
    assert lines.count("evaluation_strategy is called eval_strategy today.") == 1
    assert lines.count("tokenizer is called processing_class today.") == 1
    assert sum(line.startswith("fp16 is for accelerators; on a processor") for line in lines) == 1
    assert not any("transformers computes" in line for line in lines)
    assert not any("transformers generates" in line for line in lines)
    assert len(list((workplace / "tuned").glob("checkpoint-*"))) == 3


def test_translation_by_an_own_loop(workplace: Path) -> None:
    done = run("translation_loop.py", workplace)
    scores = [float(score) for score in re.findall(r"bleu: ([\d.]+)", done.stdout)]
    assert len(scores) == 40
    assert scores[-1] > scores[0] + 10
    assert (workplace / "looped" / "model.safetensors").is_file()


def test_pairs_by_a_trainer(workplace: Path) -> None:
    done = run("mrpc_trainer.py", workplace)
    assert "shapes (12, 2) (12,)" in done.stdout
    f1 = [float(value) for value in re.findall(r"'eval_f1': ([\d.]+)", done.stdout)]
    assert f1[-1] == 1.0
    assert "no_cuda is called use_cpu today." in done.stderr
    assert "transformers computes" not in done.stderr


@pytest.mark.parametrize(
    ("script", "result"),
    [("mrpc_loop.py", {"accuracy": 1.0, "f1": 1.0}), ("reviews_loop.py", {"accuracy": 1.0})],
)
def test_labels_by_an_own_loop(script: str, result: dict[str, float], workplace: Path) -> None:
    done = run(script, workplace)
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == result


@pytest.mark.parametrize("script", sorted(path.name for path in CHAPTERS.glob("*.py")))
def test_only_imports_point_here(script: str) -> None:
    text = (CHAPTERS / script).read_text(encoding="utf-8")
    tree = ast.parse(text)
    ours = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "attuner.compat"
    ]  # fmt: skip
    assert len(ours) == 1
    body = text[text.index("\n\n", text.index("from attuner.compat")) :]
    assert "attuner" not in body
