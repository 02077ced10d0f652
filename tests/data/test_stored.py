"""Examples on disk are those that were put there, in every order, and say where they cannot be."""

from __future__ import annotations

import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attuner.data import temporary
from attuner.data.examples import EXAMPLES, UNITS, languages_of, places_of, texts_of
from attuner.data.labelled import LabelledExample
from attuner.data.labelled_preparation import LABELLED
from attuner.data.stored import Packing, Stored, spread
from attuner.data.units import Address, Example, Unit
from attuner.errors import DataError


def example(number: int) -> Example:
    odd = "\0\ud800 é\n" if number % 3 else "plain"
    address = Address(f"file {number % 7}.po", str(number), number or None, None, odd, "catalog")
    references = (f"texte {number}", "autre")[: 1 + number % 2]
    return Example(f"text {number} {odd}", references, "en", "fr", address, 1 + number / 3)


EVERYTHING = [example(number) for number in range(2500)]


@pytest.fixture(scope="module")
def examples() -> Stored[Example]:
    return Stored.of(iter(EVERYTHING), EXAMPLES)


def test_they_come_back_as_they_were(examples: Stored[Example]) -> None:
    assert list(examples) == EVERYTHING
    assert len(examples) == 2500
    assert examples[7] == EVERYTHING[7]
    assert examples[-1] == EVERYTHING[-1]
    assert list(examples[5:2400:300]) == EVERYTHING[5:2400:300]
    with pytest.raises(IndexError):
        examples[2500]


def test_any_order_and_any_choice(examples: Stored[Example]) -> None:
    order = np.random.default_rng(0).permutation(2500)
    mixed = examples.select(order)
    assert list(mixed) == [EVERYTHING[place] for place in order]
    few = mixed.select(np.array([3, 3, 0]))
    assert [one.source for one in few] == [EVERYTHING[order[place]].source for place in (3, 3, 0)]
    chosen = np.arange(2500) % 500 == 1
    assert list(examples.select(chosen)) == EVERYTHING[1::500]
    assert list(examples[:0]) == []


def test_two_passes_at_a_time_do_not_mix_up(examples: Stored[Example]) -> None:
    pairs = list(zip(examples, examples[::-1], strict=True))
    assert pairs == list(zip(EVERYTHING, EVERYTHING[::-1], strict=True))


def test_several_threads_do_not_mix_up(examples: Stored[Example]) -> None:
    def read(step: int) -> bool:
        places = [place * step % 2500 for place in range(5000)]
        return [examples[place] for place in places] == [EVERYTHING[place] for place in places]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as pool:
            assert all(pool.map(read, [3, 7, 1249, 2001]))
    finally:
        sys.setswitchinterval(interval)


def test_weights_belong_to_places_not_to_records(examples: Stored[Example]) -> None:
    heavy = examples[:3].with_weights(np.array([2.0, 0.5, 7.0]))
    assert [one.weight for one in heavy] == [2.0, 0.5, 7.0]
    assert [one.weight for one in heavy[::-1]] == [7.0, 0.5, 2.0]
    assert examples[0] == EVERYTHING[0]


def test_others_are_joined_from_the_same_file() -> None:
    first = Stored.of(EVERYTHING[:3], EXAMPLES)
    second = Stored.of(EVERYTHING[3:5], EXAMPLES, beside=first)
    assert list(first) == EVERYTHING[:3]
    assert list(second.joined(first[:1])) == [*EVERYTHING[3:5], EVERYTHING[0]]


def test_what_is_stored_may_be_read_meanwhile() -> None:
    first = Stored.of(EVERYTHING[:300], EXAMPLES)
    others = (one for one in EVERYTHING[300:900] if one not in (first[3], first[299]))
    second = Stored.of(others, EXAMPLES, beside=first)
    assert list(first.joined(second)) == EVERYTHING[:900]


def test_texts_without_the_examples_around_them(examples: Stored[Example]) -> None:
    for kept in (examples, EVERYTHING):
        assert list(texts_of(kept)) == [(one.source, one.references[0]) for one in EVERYTHING]
        assert list(places_of(kept))[8] == ("file 1.po", "catalog")
    assert set(languages_of(examples)) == {("en", "fr")}


@pytest.mark.parametrize(
    ("items", "packing"),
    [
        ([Unit(Address("a.po", "1", 3), "a", (), "untranslated", "en", "fr", 2.0)], UNITS),
        ([LabelledExample("a", None, "good", Address("a.csv", "1"))], LABELLED),
        ([LabelledExample("a", "b", ("x", "y"), Address("a.csv", "1"), 3.0)], LABELLED),
        ([LabelledExample("a", "", 2.5, Address("a.csv", "1"))], LABELLED),
    ],
)
def test_whatever_they_are_of(items: list[Any], packing: Packing[Any]) -> None:
    assert list(Stored.of(items, packing)) == items


def test_a_few_of_several_parts() -> None:
    parts = [list(range(10)), [], list(range(10, 17))]
    assert spread(parts, 4) == [0, 4, 8, 12]
    assert spread(parts, 100) == list(range(17))
    assert spread([[], []], 4) == []


def test_nothing_is_left_on_disk(cache: Path) -> None:
    kept = Stored.of(EVERYTHING, EXAMPLES)
    assert list(cache.iterdir()) == []
    assert kept[3] == EVERYTHING[3]


def test_a_cache_folder_that_cannot_be_is_done_without(cache: Path) -> None:
    cache.write_text("not a folder")
    assert list(Stored.of(EVERYTHING[:9], EXAMPLES)) == EVERYTHING[:9]


def test_a_full_disk_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "temporary_file", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    monkeypatch.setattr("attuner.data.stored.temporary_file", temporary.temporary_file)
    with pytest.raises(DataError) as caught:
        list(Stored.of(EVERYTHING, EXAMPLES))
    assert str(caught.value) == (
        f"A temporary file with the examples cannot be kept in {cache}: "
        f"{os.strerror(errno.ENOSPC)}.\n"
        "While a run goes on, its examples lie on disk, about as large as the unpacked texts.\n"
        "Make room there, or name another folder: ATTUNER_CACHE=FOLDER"
    )
