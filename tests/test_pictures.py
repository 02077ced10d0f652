"""The docs' pictures can be made again, and their pages say what the scripts print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = DOCS / "explanation"


def draw(script: str, *options: str, folder: Path) -> str:
    """What a script prints; its pictures are in the folder."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(DOCS / "pictures" / script), "--output", str(folder), *options],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_as_in_the_docs(picture: Path) -> bool:
    return picture.read_bytes() == (PAGES / picture.name).read_bytes()


@pytest.mark.slow
def test_padding(tmp_path: Path) -> None:
    table = draw("padding.py", folder=tmp_path)
    assert table.startswith("| batches of |")
    assert table in (PAGES / "padding.md").read_text(encoding="utf-8")
    assert is_as_in_the_docs(tmp_path / "lengths.svg")
    assert is_as_in_the_docs(tmp_path / "padding.svg")


@pytest.mark.slow
def test_leaks(tmp_path: Path) -> None:
    counted, scored = draw("leaks.py", "--max-steps", "2", folder=tmp_path).split("\n\n")
    page = (PAGES / "split.md").read_text(encoding="utf-8")
    assert counted.startswith("| split by |")
    assert counted in page
    assert is_as_in_the_docs(tmp_path / "leaks.svg")
    # What is learned is not the same on every machine; which strings are scored is.
    sizes = [line.split(" | ")[:2] for line in scored.splitlines()]
    assert len(sizes) == 5
    assert all(" | ".join(row) in page for row in sizes)
    assert (tmp_path / "leaks-score.svg").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills by SIGKILL")
def test_resume(tmp_path: Path) -> None:
    resumed, anew = draw("resume.py", "--steps", "6", folder=tmp_path).splitlines()
    assert resumed == "killed and resumed: the losses of 2 updates differ by 0 at most"
    difference = re.fullmatch(r"anew from its weights: .* 2 updates differ by (\S+) at most", anew)
    assert difference is not None
    assert float(difference[1]) > 0
    assert (tmp_path / "resume.svg").stat().st_size > 1000
