"""Runs that are killed at random moments end as those that are let alone, bit for bit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_twenty_kills_leave_no_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.kills", "--kills", "20"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.search(r"\b20 SIGKILL\b", last), last
    assert last.endswith(": no run ended otherwise than uninterrupted ones."), last
