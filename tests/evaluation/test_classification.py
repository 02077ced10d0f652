"""Scores of a classifier: what is computed for which labels, and under which settings."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from attuner.data.labels import LabelSet, predictions, probabilities
from attuner.errors import UsageError
from attuner.evaluation.classification import (
    LabelRow,
    score_labels,
)
from attuner.evaluation.confusion import plot_confusion

MOODS = LabelSet("single", ("bad", "good"))
LOGITS = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]], np.float32)
TARGETS = np.array([0, 1, 1, 1])
SKLEARN = f"scikit-learn={version('scikit-learn')}"


def test_one_of_two_labels() -> None:
    found = score_labels(LOGITS, TARGETS, MOODS)
    assert found.scores == {
        "accuracy": pytest.approx(75),
        "f1": pytest.approx(80),
        "macro_f1": pytest.approx(100 * (2 / 3 + 0.8) / 2),
        "micro_f1": pytest.approx(75),
        "mcc": pytest.approx(100 / 3**0.5),
    }
    assert found.signatures["f1"] == f"n=4|bootstrap=1000|seed=12345|positive=good|{SKLEARN}"
    assert found.rows == (
        LabelRow("bad", pytest.approx(50), pytest.approx(100), pytest.approx(200 / 3), 1),
        LabelRow("good", pytest.approx(100), pytest.approx(200 / 3), pytest.approx(80), 3),
    )
    assert found.confusion is not None
    assert found.confusion.tolist() == [[1, 0], [1, 2]]
    low, high = found.intervals["accuracy"]
    assert 0 <= low < 75 < high <= 100
    assert score_labels(LOGITS, TARGETS, MOODS).intervals == found.intervals


def test_one_of_three_labels_has_no_positive_one() -> None:
    labels = LabelSet("single", ("a", "b", "c"))
    found = score_labels(np.eye(3), np.arange(3), labels, num_resamples=0)
    assert list(found.scores) == ["accuracy", "macro_f1", "micro_f1", "mcc"]
    assert found.intervals == {}
    with pytest.raises(UsageError) as caught:
        score_labels(np.eye(3), np.arange(3), labels, metrics=["f1"])
    assert str(caught.value) == (
        'There is no metric "f1" for these labels.\nKnown: accuracy, macro_f1, mcc, micro_f1.'
    )


def test_several_labels_by_their_threshold() -> None:
    labels = LabelSet("multi", ("a", "b"))
    logits = np.array([[1.0, -1.0], [-0.5, 2.0]])
    targets = np.array([[1, 0], [1, 1]], np.float32)
    high = score_labels(logits, targets, labels, threshold=0.5)
    low = score_labels(logits, targets, labels, threshold=0.3)
    assert (high.scores["accuracy"], low.scores["accuracy"]) == (50, 100)
    assert high.scores["map"] == low.scores["map"] == 100
    assert low.signatures["micro_f1"].endswith(f"|threshold=0.3|{SKLEARN}")
    assert "threshold" not in low.signatures["map"]
    assert low.confusion is None


def test_a_single_label_that_texts_may_have_or_not() -> None:
    labels = LabelSet("multi", ("spam",))
    logits = np.array([[2.0], [2.0], [-2.0], [-2.0], [2.0]])
    targets = labels.encode([("spam",), ("spam",), ("spam",), (), ()])
    found = score_labels(logits, targets, labels)
    # Three are given it, of which two have it; three have it.
    assert found.scores["micro_f1"] == found.scores["macro_f1"] == pytest.approx(200 / 3)
    (row,) = found.rows
    assert (row.precision, row.recall) == (pytest.approx(200 / 3), pytest.approx(200 / 3))
    assert row.num_examples == 3


def test_ratings() -> None:
    found = score_labels(
        np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 3.0, 4.0]), LabelSet("rating")
    )
    assert found.scores["mae"] == pytest.approx(1 / 3)
    assert found.scores["spearman"] == pytest.approx(100)
    assert (found.rows, found.confusion) == ((), None)


def test_a_function_of_the_users() -> None:
    def cost(given: np.ndarray, true: np.ndarray) -> dict[str, float]:
        return {"missed": float(((given == 0) & (true == 1)).sum()), "total": len(true)}

    found = score_labels(LOGITS, TARGETS, MOODS, metrics=["accuracy"], functions=[cost])
    assert list(found.scores) == ["accuracy", "missed", "total"]
    assert (found.scores["missed"], found.intervals["total"]) == (1, (4, 4))
    assert found.intervals["missed"][0] == 0
    assert found.intervals["missed"][1] >= 2
    assert found.signatures["missed"] == "n=4|bootstrap=200|seed=12345|cost"


def test_probabilities_sum_up_or_stand_for_themselves() -> None:
    large = np.array([[1000.0, 0.0, -1000.0]])
    assert probabilities(large, LabelSet("single", ("a", "b", "c"))).tolist() == [[1, 0, 0]]
    assert probabilities(large, LabelSet("multi", ("a", "b", "c"))).tolist() == [[1, 0.5, 0]]
    assert predictions(large, LabelSet("multi", ("a", "b", "c"))).tolist() == [[1, 1, 0]]
    assert predictions(large, LabelSet("single", ("a", "b", "c"))).tolist() == [0]


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="0 predictions, 0 targets"):
        score_labels(np.zeros((0, 2)), np.zeros(0), MOODS)


@pytest.mark.parametrize("num_labels", [2, 30])
def test_the_picture_of_confusions(tmp_path: Path, num_labels: int) -> None:
    names = [f"a label ${i} with a name that is much too long" for i in range(num_labels)]
    matrix = np.eye(num_labels, dtype=np.int64) * 5
    path = tmp_path / "confusion.png"
    plot_confusion(matrix, names, path, title="moods")
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 400
    assert picture[..., :3].min() < 0.3  # dark cells on the diagonal
