"""Gains by hand; curves of runs that are long, short, empty or gone wrong."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import pytest

from attuner.evaluation import report
from attuner.evaluation.report import plot_curves, sentence_gains


def test_gains_by_hand() -> None:
    # chrF (Popović 2015) with n-grams of 1 to 6 letters, of which a text of 2 letters has 2 kinds.
    # "ab" has both letters and the pair of "ab": 100. Of "ax", 1 letter in 2 and no pair in 1 are
    # in "ab": precision and recall are (1/2 + 0) / 2 = 1/4, and so is the F score: 25.
    assert sentence_gains(["ax", "ab", "xy"], ["ab", "ax", "ab"], [["ab"]] * 3) == pytest.approx(
        [75, -75, 100]
    )


def test_the_nearest_reference_counts() -> None:
    assert sentence_gains(["qy"], ["ab"], [["ax", "ab"]]) == pytest.approx([100])


def test_unchanged_texts_gain_exactly_nothing() -> None:
    texts = ["a", "", "Le noyau\nredémarre", "漢字"]
    assert sentence_gains(texts, texts, [["b"], ["c"], ["Le noyau"], [""]]) == [0.0] * 4


def test_texts_must_correspond() -> None:
    with pytest.raises(ValueError, match="shorter"):
        sentence_gains(["a", "b"], ["c"], [["d"], ["e"]])


def stepped(step: int, loss: float) -> dict[str, Any]:
    return {"event": "stepped", "step": step, "epoch": step / 10, "loss": loss}


def evaluated(epoch: float, is_best: bool = False, **scores: float) -> dict[str, Any]:
    return {
        "event": "evaluated", "split": "validation", "epoch": epoch, "scores": scores,
        "is_best": is_best,
    }  # fmt: skip


STEPS = [stepped(step, 3 / step) for step in range(1, 121)]
TEST = {**evaluated(12, bleu=1.0), "split": "test"}
WHOLE = [
    evaluated(0, loss=3.0, bleu=10.0, chrf=30.0),
    *STEPS,
    evaluated(6, True, loss=2.0, bleu=20.0, chrf=40.0),
    evaluated(12, loss=2.5, bleu=19.0, chrf=39.0),
    TEST,
    {"event": "finished", "reason": "done"},
]
NAN = float("nan")


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The two panels of the picture that is drawn last: losses and scores."""
    import matplotlib.figure

    drawn: list[Any] = []
    subplots = matplotlib.figure.Figure.subplots

    def kept(self: Any, *args: Any, **options: Any) -> Any:
        drawn[:] = subplots(self, *args, **options)
        return drawn

    monkeypatch.setattr(matplotlib.figure.Figure, "subplots", kept)
    return drawn


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(WHOLE, id="whole run"),
        pytest.param(WHOLE[:1], id="only one evaluation"),
        pytest.param([*STEPS, TEST], id="no evaluation"),
        pytest.param([], id="nothing"),
        pytest.param([stepped(1, NAN), evaluated(1, loss=NAN, bleu=NAN)], id="all NaN"),
        pytest.param([*STEPS, stepped(121, NAN), evaluated(1, loss=NAN, bleu=1.0)], id="NaN"),
        pytest.param([evaluated(1, bleu=1.0), evaluated(2, bleu=2.0, chrf=3.0)], id="a new metric"),
        pytest.param([evaluated(1, bleu=1.0, chrf=3.0), evaluated(2, loss=2.0)], id="lost metrics"),
    ],
)
def test_curves_are_a_picture(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    path = tmp_path / "curves.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_curves(events, path, title="a_run $x", unit="nats")
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1170, 468)


def test_curves_show_the_numbers_of_the_run(tmp_path: Path, axes: list[Any]) -> None:
    plot_curves(WHOLE, tmp_path / "curves.png", title="run", unit="nats")
    loss, scores = axes
    lines = {line.get_label(): line for line in loss.get_lines()}
    assert list(lines) == ["update", "training, running mean", "validation"]
    assert list(lines["update"].get_ydata()) == [event["loss"] for event in STEPS]
    assert list(lines["validation"].get_xdata()) == [0, 6, 12]
    assert list(lines["validation"].get_ydata()) == [3.0, 2.0, 2.5]
    smooth = lines["training, running mean"].get_ydata()  # of three updates, a fortieth of 120
    assert smooth[0] == 3.0
    assert smooth[9] == pytest.approx((3 / 8 + 3 / 9 + 3 / 10) / 3)
    bleu, chrf, best = scores.get_lines()
    assert (bleu.get_label(), list(bleu.get_ydata())) == ("BLEU", [10.0, 20.0, 19.0])
    assert (chrf.get_label(), list(chrf.get_ydata())) == ("chrF", [30.0, 40.0, 39.0])
    assert list(best.get_xdata()) == [6, 6]  # the best weights are the ones delivered
    assert [text.get_text() for text in scores.texts] == ["19.0", "39.0"]


def test_the_delivered_weights_are_no_point_of_the_curve(tmp_path: Path, axes: list[Any]) -> None:
    scored = [event for event in WHOLE if event["event"] == "evaluated"]
    once_more = {**scored[1], "when": "after", "epoch": scored[-1]["epoch"]}
    plot_curves([*WHOLE, once_more], tmp_path / "curves.png", title="run", unit="nats")
    loss, scores = axes
    assert list(scores.get_lines()[0].get_ydata()) == [10.0, 20.0, 19.0]
    assert loss.get_title() == "loss, nats"


def test_no_state_is_left_behind(tmp_path: Path) -> None:
    import sys

    plot_curves([], tmp_path / "curves.png", title="run", unit="nats")
    assert "pyplot" not in vars(report)
    assert (
        not sys.modules.get("matplotlib.pyplot")
        or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
