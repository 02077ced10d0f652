"""Labels: what values mean, in which order they stand, what is said of those that are none."""

from __future__ import annotations

import numpy as np
import pytest

from attuner.data.labels import (
    BadLabelError,
    LabelSet,
    class_weights,
    find_labels,
    numbered_labels,
    parse_label,
    require_known,
)
from attuner.errors import DataError


@pytest.mark.parametrize(
    ("value", "kind", "label"),
    [
        (" good ", "single", "good"),
        (3, "single", "3"),
        (3.0, "single", "3"),
        (-0.5, "single", "-0.5"),
        (1234567890123456789, "single", "1234567890123456789"),
        (1234567890123457.0, "single", "1234567890123457"),
        pytest.param(10**400, "single", str(10**400), id="no float"),
        (True, "single", "true"),
        (None, "single", None),
        (float("nan"), "single", None),
        ("  ", "single", None),
        ("a, b,a,", "multi", ("a", "b")),
        (["b", 1], "multi", ("b", "1")),
        ([], "multi", ()),
        ("", "multi", ()),
        (None, "multi", None),
        (4, "rating", 4.0),
        (" -2.5 ", "rating", -2.5),
        ("nan", "rating", None),
        ("", "rating", None),
    ],
)
def test_values_of_tables(value: object, kind: str, label: object) -> None:
    assert parse_label(value, kind) == label  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ({"a": 1}, "single", "{'a': 1} where a label should be"),
        (["a"], "single", "['a'] where a label should be"),
        (float("inf"), "single", "inf where a label should be"),
        ("good", "rating", "'good' where a number should be"),
        (float("inf"), "rating", "inf where a number should be"),
        (True, "rating", "True where a number should be"),
        pytest.param(10**400, "rating", f"1{'0' * 39} where a number should be", id="no float"),
    ],
)
def test_values_that_are_no_label(value: object, kind: str, why: str) -> None:
    with pytest.raises(BadLabelError) as caught:
        parse_label(value, kind)  # type: ignore[arg-type]
    assert str(caught.value) == why


def test_names_that_the_data_set_declares_stand_for_its_numbers() -> None:
    assert parse_label(1, "single", classes=["no", "yes"]) == "yes"
    assert parse_label(-1, "single", classes=["no", "yes"]) is None  # unlabelled, on the Hub
    assert parse_label([0, 1], "multi", classes=["no", "yes"]) == ("no", "yes")


def test_order_of_labels() -> None:
    labels = ["10", "9", "-1"]
    assert find_labels(labels, "single").names == ("-1", "9", "10")
    assert find_labels(["b", "a", "b"], "single").names == ("a", "b")
    assert find_labels(["b", "a"], "single", given=["b", "c", "a"]).names == ("b", "c", "a")
    assert find_labels(["b", "a"], "single", known=["b", "a"]).names == ("b", "a")
    assert find_labels(["b", "a"], "single", known=["LABEL_0", "LABEL_1"]).names == ("a", "b")
    assert find_labels([("y", "x"), ()], "multi").names == ("x", "y")
    assert find_labels([1.0, 2.0], "rating") == LabelSet("rating")


def test_numbers_count_the_names_given() -> None:
    assert numbered_labels([("1", "0"), ()], ["bad", "good"]) == [("good", "bad"), ()]
    assert numbered_labels(["0", "2"], ["bad", "good"]) == ["0", "2"]
    assert numbered_labels([0.5], []) == [0.5]


def test_one_label_only() -> None:
    with pytest.raises(DataError) as caught:
        find_labels(["a"] * 1200, "single")
    assert str(caught.value) == (
        "All 1,200 training examples have the label `a`.\n"
        "There is something to learn from two different labels on.\n"
        "Give data with other labels, or name another column: task.label=COLUMN"
    )
    with pytest.raises(DataError, match=r"^All 2 training examples have no label\.\n"):
        find_labels([(), ()], "multi")


def test_labels_that_were_not_given() -> None:
    with pytest.raises(DataError) as caught:
        find_labels(["a", "b", "c", "c"], "single", given=["a"])
    assert str(caught.value) == (
        "Unknown labels in training: `c` 2, `b` 1.\nKnown are: a.\nAdd them to task.labels."
    )
    with pytest.raises(DataError, match="and 5 more"):
        require_known([str(i) for i in range(15)], [], where="validation", remedy="")


def test_targets() -> None:
    assert LabelSet("single", ("a", "b")).encode(["b", "a"]).tolist() == [1, 0]
    assert LabelSet("rating").encode([1.5]).dtype == np.float32
    assert [LabelSet("rating").num_outputs, LabelSet("multi", ("a",)).num_outputs] == [1, 1]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.array([0, 0, 0, 1, 2, 2])
    found = class_weights(targets, LabelSet("single", ("a", "b", "c")), "balanced")
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_weights_of_several_labels_balance_those_with_and_without() -> None:
    targets = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]], np.float32)
    found = class_weights(targets, LabelSet("multi", ("a", "b", "c")), "balanced")
    assert found.tolist() == pytest.approx([3, 1, 1 / 3])


def test_weights_given() -> None:
    labels = LabelSet("single", ("good", "bad"))
    assert class_weights(np.array([0]), labels, {"bad": 3.0}).tolist() == [1, 3]
    with pytest.raises(DataError) as caught:
        class_weights(np.array([0]), labels, {"god": 3.0})
    assert str(caught.value) == (
        'task.class_weights: there is no label "god".\nDid you mean "good"? Known: bad, good.'
    )


def test_declared_names_give_the_order_and_labels_without_examples() -> None:
    declared = ("not_equivalent", "equivalent", "unclear")
    assert find_labels(["equivalent", "not_equivalent"], "single", declared=declared) == LabelSet(
        "single", declared
    )
    with pytest.raises(DataError) as caught:
        find_labels(["equivalent"], "single", declared=declared)
    assert caught.value.happened == "All 1 training examples have the label `equivalent`."
    assert find_labels(["a", "b"], "single", declared=("b",)).names == ("a", "b")
