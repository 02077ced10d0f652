import random

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.data.splitting import (
    group_keys,
    normalised,
    split_groups,
    split_random,
    subset_rows,
)
from attuner.data.units import Address, Example
from attuner.errors import DataError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("&Save", "Save"),
        ("Save &As...", "Save As…"),
        ("_File", "file"),
        ("E_xit", "Exit"),
        ("Name:", "name"),
        ("Two  words\n", "two words"),
        ("ﬁle", "file"),  # ligature
        ("File (&F)", "file"),
        ("a\u00a0b", "a b"),
    ],
)
def test_sources_that_a_person_would_translate_alike_are_one(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Save", "Saves"), ("Save?", "Save"), ("A && B", "A B"), ("...", ":")]
)
def test_other_sources_stay_apart(one, other):
    assert normalised(one) != normalised(other)


def parts(rows):
    return {part: getattr(rows, part).tolist() for part in ("train", "validation", "test")}


@given(
    keys=st.lists(st.sampled_from("abcdefghijkl"), min_size=12, max_size=60),
    seed=st.integers(0, 99),
)
def test_groups_stay_together_and_no_row_is_lost(keys, seed):
    keys = [*keys, *"abc"]
    rows = split_groups(keys, by="source", validation=0.2, test=0.2, seed=seed)
    assert sorted(row for part in parts(rows).values() for row in part) == list(range(len(keys)))
    groups = [{keys[row] for row in part} for part in parts(rows).values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set(keys))


def test_sizes_are_exact_where_groups_are_single_rows():
    keys = [f"text {n}" for n in range(1000)]
    shares = split_groups(keys, by="source", validation=0.1, test=0.25, seed=20)
    assert {name: len(part) for name, part in parts(shares).items()} == {
        "train": 650,
        "validation": 100,
        "test": 250,
    }
    counts = split_groups(keys, by="source", validation=7, test=0, seed=20)
    assert (len(counts.validation), len(counts.test)) == (7, 0)


def test_large_groups_are_passed_over_for_the_nearest_size():
    keys = ["large"] * 900 + [f"small {n // 10}" for n in range(100)]
    for seed in range(20):
        rows = split_groups(keys, by="catalog", validation=0.03, test=0.05, seed=seed)
        assert (len(rows.validation), len(rows.test)) == (30, 50)


def test_a_group_too_many_is_taken_where_that_is_nearer():
    keys = [f"catalog {n // 10}" for n in range(100)]
    for wanted, found in ((24, 20), (26, 30), (4, 10)):
        rows = split_groups(keys, by="catalog", validation=0, test=wanted, seed=1)
        assert len(rows.test) == found


def test_three_large_groups_make_three_parts():
    rows = split_groups(["a", "b", "c"] * 10, by="file", validation=0.1, test=0.1, seed=3)
    assert [len(part) for part in parts(rows).values()] == [10, 10, 10]


def test_the_seed_decides_and_the_order_of_rows_does_not():
    keys = [f"text {n}" for n in range(200)]
    mixed = random.Random(0).sample(keys, 200)

    def test_keys(keys, seed):
        rows = split_groups(keys, by="source", validation=0.1, test=0.1, seed=seed)
        return {keys[row] for row in rows.test}

    assert test_keys(keys, 1) == test_keys(mixed, 1)
    assert test_keys(keys, 1) != test_keys(keys, 2)


def test_a_grown_data_set_keeps_its_held_out_texts():
    keys = [f"text {n}" for n in range(1000)]
    grown = [*keys, *(f"new {n}" for n in range(50))]
    before = split_groups(keys, by="source", validation=0.1, test=0.1, seed=1)
    after = split_groups(grown, by="source", validation=0.1, test=0.1, seed=1)
    for part in ("validation", "test"):
        held_out = {keys[row] for row in getattr(before, part)}
        still = {grown[row] for row in getattr(after, part)}
        assert len(held_out & still) >= 95
    assert not {keys[row] for row in before.test} & {grown[row] for row in after.validation}


@pytest.mark.parametrize("num_rows", [10, 997, 3198])
@pytest.mark.parametrize("train_size", [0.9, 0.55, 7.0])
def test_random_with_train_size_gives_the_rows_of_datasets(num_rows, train_size):
    theirs = datasets.Dataset.from_dict({"row": list(range(num_rows))}).train_test_split(
        train_size=train_size if train_size < 1 else int(train_size), seed=20
    )
    ours = split_random(num_rows, train_size=train_size, validation=0.1, test=0.1, seed=20)
    assert ours.train.tolist() == theirs["train"]["row"][:]
    assert ours.validation.tolist() == theirs["test"]["row"][:]
    assert ours.test.tolist() == []


@pytest.mark.parametrize("size", [0.1, 0.07, 13])
def test_random_without_train_size_holds_out_the_rows_of_datasets(size):
    theirs = datasets.Dataset.from_dict({"row": list(range(997))}).train_test_split(
        test_size=size, seed=5
    )
    ours = split_random(997, train_size=None, validation=size, test=0, seed=5)
    assert ours.train.tolist() == theirs["train"]["row"][:]
    assert ours.validation.tolist() == theirs["test"]["row"][:]
    both = split_random(997, train_size=None, validation=13, test=20, seed=5)
    theirs = datasets.Dataset.from_dict({"row": list(range(997))}).train_test_split(
        test_size=33, seed=5
    )
    assert [*both.test, *both.validation] == theirs["test"]["row"][:]
    assert both.train.tolist() == theirs["train"]["row"][:]


def test_subset_gives_the_rows_of_datasets():
    dataset = datasets.Dataset.from_dict({"row": list(range(500))})
    theirs = dataset.shuffle(seed=42).select(range(100))["row"][:]
    assert subset_rows(500, n=100, seed=42).tolist() == theirs
    assert sorted(subset_rows(5, n=100, seed=42)) == [0, 1, 2, 3, 4]


def message(function, *args, **options):
    with pytest.raises(DataError) as caught:
        function(*args, **options)
    return str(caught.value)


def test_one_catalog_cannot_be_split_by_catalog():
    assert message(split_groups, ["kate"] * 50, by="catalog", validation=0.1, test=0.1, seed=1) == (
        "1 catalog cannot be split into train, validation and test.\n"
        "data.split.by=catalog keeps each catalog in one part, so it needs at least 3.\n"
        "Split by source text instead: data.split.by=source"
    )


def test_two_texts_cannot_make_three_parts():
    assert message(
        split_groups, ["open", "open", "close", "close"], by="source", validation=1, test=1, seed=1
    ) == (
        "2 different source texts cannot be split into train, validation and test.\n"
        "data.split.by=source keeps each different source text in one part, so it needs at "
        "least 3.\n"
        "Give more data, or hold out less: data.split.validation=0 or data.split.test=0"
    )


def test_held_out_parts_may_not_take_everything():
    keys = [f"text {n}" for n in range(600)]
    assert message(split_groups, keys, by="source", validation=500, test=100, seed=1) == (
        "600 examples cannot be split: 500 for validation and 100 for test leave none for "
        "training.\n"
        "Every part needs at least one example.\n"
        "Give more data, or make the held-out parts smaller: data.split.validation=... "
        "data.split.test=..."
    )


def test_train_size_may_not_take_everything():
    assert message(split_random, 10, train_size=10, validation=0, test=0, seed=1) == (
        "data.split.train_size=10 of 10 rows are 10 for training: nothing is left for the other "
        "part.\n"
        "Training and validation both need at least one row.\n"
        "Choose another data.split.train_size, such as 0.9."
    )


@pytest.mark.parametrize("by", ["catalog", "file"])
def test_where_the_data_lie_does_not_change_the_division(by: str) -> None:
    def keys(folder: str) -> list[str]:
        names = [f"{folder}a/one.po", f"{folder}a/two.po", f"{folder}b/one.po"]
        examples = [Example("a", ("b",), "en", "fr", Address(name, "1")) for name in names]
        return list(group_keys(examples, by))

    assert keys("") == keys("/home/anna/") == keys("../") == ["a/one.po", "a/two.po", "b/one.po"]
