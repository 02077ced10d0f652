"""The main promise: two commands, a few minutes, two cores, no network, a better model."""

from __future__ import annotations

import math
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
