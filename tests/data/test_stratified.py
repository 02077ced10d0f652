"""Stratified division: shares, groups, stability, and what is said where it cannot be done."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.data.splitting import Rows
from attuner.data.stratified import split_stratified, strata_of
from attuner.errors import DataError


def split(keys: list[str], strata: list[str], validation: float = 0.1, test: float = 0.2) -> Rows:
    return split_stratified(keys, strata, by="source", validation=validation, test=test, seed=7)


def test_every_part_has_its_share_of_every_label() -> None:
    strata = ["a"] * 700 + ["b"] * 200 + ["c"] * 100
    rows = split([str(row) for row in range(1000)], strata)
    shares = {
        part: Counter(strata[row] for row in getattr(rows, part))
        for part in ("train", "validation", "test")
    }
    assert shares == {
        "train": {"a": 490, "b": 140, "c": 70},
        "validation": {"a": 70, "b": 20, "c": 10},
        "test": {"a": 140, "b": 40, "c": 20},
    }


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=40, max_size=120),
    st.integers(0, 5),
)
def test_groups_stay_together_and_nothing_is_lost(rows: list[tuple[int, str]], seed: int) -> None:
    keys, strata = [str(key) for key, _ in rows], [stratum for _, stratum in rows]
    try:
        parts = split_stratified(keys, strata, by="source", validation=0.15, test=0.15, seed=seed)
    except DataError:
        assert len(set(keys)) < 12  # a few texts only: no part could be filled
        return
    found = sorted([*parts.train, *parts.validation, *parts.test])
    assert found == list(range(len(rows)))
    sides = [{keys[row] for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert all(sides)


def test_added_rows_move_hardly_any_others() -> None:
    random = np.random.default_rng(0)
    strata = random.choice(["a", "b", "c"], 1200).tolist()
    keys = [f"text {row}" for row in range(1200)]
    before = set(split(keys[:1000], strata[:1000]).test)
    after = {row for row in split(keys, strata).test if row < 1000}
    assert len(before & after) / len(before) > 0.9


def test_a_label_with_one_text_stays_in_training() -> None:
    keys = [str(row) for row in range(21)]
    rows = split(keys, ["a"] * 20 + ["rare"])
    assert 20 in rows.train


def test_several_labels_whose_combinations_hardly_recur() -> None:
    random = np.random.default_rng(0)
    labels = [
        tuple(str(one) for one in random.choice(12, random.integers(1, 5), replace=False))
        for _ in range(300)
    ]
    labels[7] = ("only here", "3")
    strata = strata_of(labels)
    assert Counter(strata)["\0"] > 100  # combinations that occur once: one stratum
    rows = split([str(row) for row in range(300)], strata, validation=0.1, test=0.1)
    assert abs(len(rows.validation) - 30) <= 3
    assert abs(len(rows.test) - 30) <= 3
    learned = {name for row in rows.train for name in labels[row]}
    assert learned == {name for label in labels for name in label}
    shuffled = random.permutation(300)
    again = strata_of([labels[row] for row in shuffled])
    assert again == [strata[row] for row in shuffled]


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=4), min_size=30, max_size=60))
def test_every_one_of_several_labels_stays_in_training(sets: list[set[str]]) -> None:
    labels = [tuple(one) for one in sets]
    rows = split([str(row) for row in range(len(labels))], strata_of(labels))
    learned = {name for row in rows.train for name in labels[row]}
    assert learned == set().union(*sets)


def test_too_few_texts() -> None:
    with pytest.raises(DataError) as caught:
        split(["x"] * 20, ["a"] * 20)
    assert str(caught.value) == (
        "1 different source text cannot be split into train, validation and test.\n"
        "data.split.by=source keeps each different source text in one part, so it needs at least "
        "3.\n"
        "Give more data, or hold out less: data.split.validation=0 or data.split.test=0"
    )


def test_ratings_are_divided_by_range() -> None:
    ratings = np.random.default_rng(0).normal(size=2000).tolist()
    rows = split([str(i) for i in range(2000)], strata_of(ratings))
    means = [np.mean([ratings[row] for row in part]) for part in (rows.train, rows.test)]
    assert abs(means[0] - means[1]) < 0.05
    assert len(set(strata_of(ratings))) == 10
