"""What a data set takes in memory does not grow by more than some bytes a pair."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# Prints the peak of the resident size before there are any data, and after all is ready to train.
PROGRAM = """
import sys
from attuner.recipe_loading import load_recipe
from attuner.training import parts, setup
from attuner.training.data import prepare_data
from attuner.training.manifest import features_fingerprint
from attuner.training.origin import find_origin

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def ready(recipe):
    prepared = prepare_data(recipe)
    features, _, _ = parts.encode_parts(recipe, prepared, origin, lambda event: None)
    features_fingerprint(features)
    plan = setup.build_plan(recipe, features, is_packed=True)
    next(iter(plan))
    return len(features)

few, many = (
    load_recipe(None, [
        "task={name: translation, source: en, target: fr}", "model=embedded:en-fr",
        f"data.train={path}", "data.split={validation: 50, test: 50}", sys.argv[3],
    ])
    for path in sys.argv[1:3]
)
origin = find_origin(few)
ready(few)
before = peak()
num = ready(many)
print(num, peak() - before)
"""


def write(path: Path, num: int) -> Path:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for n in range(num):
            source, target = f"Open the file number {n}", f"Ouvrir le fichier numéro {n}"
            file.write(json.dumps({"en": source, "fr": target}, ensure_ascii=False) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("by", ["source", "random"])
def test_a_hundred_thousand_pairs_take_some_megabytes(tmp_path: Path, by: str) -> None:
    few, many = write(tmp_path / "few.jsonl.gz", 2_000), write(tmp_path / "many.jsonl.gz", 102_000)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(few), str(many), f"data.split.by={by}"],
        env={**os.environ, "PYTHONPATH": str(SRC), "ATTUNER_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    num, grown = map(int, done.stdout.split())
    assert num == 101_900
    assert grown < 30_000  # kB: 300 bytes a pair; as Python objects they took 900
