"""Labelled examples of each part: what is held out, left out, and said."""

from __future__ import annotations

from collections import Counter

import datasets
import pytest

from attuner.data.labelled import LabelledExample
from attuner.data.labelled_preparation import PreparedLabels, prepare_labelled
from attuner.data.labels import Label
from attuner.data.units import Address
from attuner.errors import DataError


def example(text: str, label: Label = "a", pair: str | None = None) -> LabelledExample:
    return LabelledExample(text, pair, label, Address("a.csv", "1", catalog="a.csv"))


def many(num: int = 100) -> list[LabelledExample]:
    return [example(f"text {row}", "ab"[row % 5 == 0]) for row in range(num)]


def texts(examples: list[LabelledExample]) -> set[str]:
    return {example.text for example in examples}


def counted(prepared: PreparedLabels) -> int:
    parts = (prepared.train, prepared.validation, prepared.test)
    return sum(map(len, parts)) + sum(prepared.counts["skipped"].values())


def test_counts_add_up() -> None:
    prepared = prepare_labelled([*many(), example("text 0", "b")], skipped=Counter({"no label": 3}))
    assert prepared.counts["split"] == {"train": 80, "validation": 10, "test": 10}
    assert prepared.counts["skipped"] == {"no label": 3, "duplicate": 1}
    assert prepared.counts["read"] == {"a.csv": 101}
    assert prepared.counts["labels"] == {"a": 64, "b": 16}
    assert counted(prepared) == 104
    assert prepared.notes == ()


def test_the_same_text_stays_in_one_part() -> None:
    twice = [e for row in range(50) for e in (example(f"Text {row}"), example(f"text  {row}", "b"))]
    prepared = prepare_labelled(twice, validation_size=0.2)
    sides = [
        {e.text.casefold().replace("  ", " ") for e in part}
        for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert prepared.notes == (
        f"{len(prepared.train) // 2} texts of training have different labels: no classifier can "
        "learn them all.",
    )


def test_texts_of_given_parts_are_left_out_of_training() -> None:
    prepared = prepare_labelled(many(20), [example("TEXT 3")], [example("text 4", "b")])
    assert texts(prepared.train) == texts(many(20)) - {"text 3", "text 4"}
    assert prepared.counts["skipped"] == {"text also in validation or test": 2}
    assert prepared.notes[0] == (
        "Left out of training because validation or test has the same text: 2. "
        "data.split.by=random would keep them."
    )


def test_pairs_are_the_same_where_both_texts_are() -> None:
    train = [example("one", pair="two"), example("one", "b", pair="three")]
    prepared = prepare_labelled(train, [example("one", pair="two")], test_size=0)
    assert [(e.text, e.text_pair) for e in prepared.train] == [("one", "three")]


def test_a_random_split_has_the_rows_of_datasets() -> None:
    rows = datasets.Dataset.from_list([{"text": e.text} for e in many()])
    wanted = rows.train_test_split(train_size=0.9, seed=20)
    prepared = prepare_labelled(many(), by="random", train_size=0.9, test_size=0)
    assert [e.text for e in prepared.train] == wanted["train"]["text"]
    assert [e.text for e in prepared.validation] == wanted["test"]["text"]
    assert prepared.notes == (
        "There is no test split: scores are on validation, which choices were made on.",
    )


def test_leaks_of_a_random_split_are_said() -> None:
    twice = [example("same", "a"), example("same", "b")] * 20
    prepared = prepare_labelled(twice, by="random", duplicates="keep")
    assert prepared.notes[1] == (
        "8 texts of validation or test are also in training. data.split.by=source keeps them out."
    )


def test_files_stay_together() -> None:
    examples = [
        LabelledExample(f"{row}", None, "ab"[row % 2], Address(f"d/{row // 10}.csv", "1"))
        for row in range(100)
    ]
    prepared = prepare_labelled(examples, by="file")
    files = [
        {e.address.file for e in part}
        for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert [len(side) for side in files] == [8, 1, 1]


def test_subsets_are_counted() -> None:
    prepared = prepare_labelled(many(), train_subset=(10, 1), evaluation_subset=(5, 1))
    assert prepared.counts["split"] == {"train": 10, "validation": 5, "test": 5}
    assert prepared.counts["skipped"] == {"not in the subset": 80}


def test_nothing_left() -> None:
    with pytest.raises(DataError) as caught:
        prepare_labelled(many(4), [], skipped=Counter({"no label": 3}))
    assert str(caught.value) == (
        "No example is left for validation. Left out of all data: no label 3.\n"
        "Every part needs rows that have a text and a label.\n"
        "Name other files in data.validation, or other columns: task.text=COLUMN "
        "task.label=COLUMN"
    )


def test_train_size_belongs_to_random_splits() -> None:
    with pytest.raises(DataError) as caught:
        prepare_labelled(many(), train_size=0.5)
    assert str(caught.value) == (
        "data.split.train_size=0.5 was given with data.split.by=source.\n"
        "train_size belongs to random splits, where all other rows become validation.\n"
        "Leave it out, or set data.split.by=random and name no validation data."
    )
