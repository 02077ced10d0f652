import gzip
import json
import time
from collections import Counter
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attuner.data.leaks import Leak, find_leaks
from attuner.data.line_pairs import num_unpaired, training_pairs
from attuner.data.preparation import prepare
from attuner.data.units import Address, Unit
from attuner.errors import DataError

SHARED_KDE = Path(__file__).parents[2] / "../shared/data/kde-en-fr.jsonl.gz"


def unit(source, *targets, state="translated", file="a.po", number=1, **address):
    return Unit(Address(file, str(number), **address), source, targets, state, "en", "fr")


def many(n, prefix="text", **address):
    return [unit(f"{prefix} {i}", f"texte {i}", number=i + 1, **address) for i in range(n)]


def message(*args, **options):
    with pytest.raises(DataError) as caught:
        prepare(*args, **options)
    return str(caught.value)


def sources(examples):
    return {example.source for example in examples}


def test_every_unusable_entry_is_counted_by_reason():
    units = [
        *many(10),
        unit("new"),
        unit("new", "", state="untranslated"),
        unit("maybe", "peut-être", state="fuzzy"),
        unit("gone", "parti", state="obsolete"),
        unit(" \n", "vide"),
        unit("empty", " "),
        unit("text 1", "texte 1", context="another"),
        unit("text 1", "texte un"),  # the same source with another target stays
    ]
    prepared = prepare(iter(units), validation_size=0, test_size=0, skipped=Counter({"bad": 2}))
    assert prepared.counts == {
        "read": {"a.po": 18},
        "skipped": {
            "bad": 2,
            "untranslated": 2,
            "fuzzy": 1,
            "obsolete": 1,
            "empty source": 1,
            "empty target": 1,
            "duplicate": 1,
        },
        "split": {"train": 11, "validation": 0, "test": 0},
    }
    assert prepared.notes == ("Nothing is held out: there will be no scores.",)


def test_an_example_keeps_its_origin_languages_and_references():
    original = Unit(
        Address("a.tmx", "7", line=3), "  Open\n", ("Ouvrir", "", "Ouvre"), "translated", "en-GB",
        "fr", 2.0,
    )  # fmt: skip
    (example,) = prepare([original], validation_size=0, test_size=0).train
    assert example.source == "  Open\n"
    assert example.references == ("Ouvrir", "Ouvre")
    assert (example.source_language, example.target_language) == ("en-GB", "fr")
    assert example.address == original.address
    assert example.weight == 2.0


def test_duplicates_are_kept_on_request():
    units = [unit("a", "b"), unit("a", "b")]
    kept = prepare(units, validation_size=0, test_size=0, duplicates="keep")
    assert len(kept.train) == 2
    assert kept.counts["skipped"] == {}


@settings(deadline=None)
@given(
    units=st.lists(
        st.builds(
            unit,
            st.sampled_from(["&Open", "open", "Close", "x", "y", "z", " "]),
            st.sampled_from(["a", "b", " "]),
            state=st.sampled_from(["translated", "translated", "fuzzy"]),
            file=st.sampled_from(["a.po", "b.po"]),
        ),
        max_size=40,
    ),
    by=st.sampled_from(["source", "file", "random"]),
    subset=st.sampled_from([None, (5, 1)]),
)
def test_what_was_read_is_either_used_or_counted_as_skipped(units, by, subset):
    units = [*many(6, file="c.po"), *units]
    try:
        prepared = prepare(units, by=by, train_subset=subset)
    except DataError:
        return
    counts = {name: sum(rows.values()) for name, rows in prepared.counts.items()}
    assert counts["read"] == len(units) == counts["skipped"] + counts["split"]
    assert counts["split"] == sum(
        len(part) for part in (prepared.train, prepared.validation, prepared.test)
    )


def test_by_source_no_evaluated_text_is_learned():
    units = [u for i in range(100) for u in (unit(f"&Text {i}", "a"), unit(f"text {i}...", "b"))]
    prepared = prepare(units)
    assert prepared.counts["split"] == {"train": 160, "validation": 20, "test": 20}
    assert not find_leaks(prepared.train, validation=prepared.validation, test=prepared.test)
    assert prepared.notes == ()


def test_by_catalog_equal_sources_are_reported():
    units = [
        unit(source, f"{source} {number}", catalog=f"catalog {number}")
        for number in range(10)
        for source in ("Open", f"only {number}")
    ]
    prepared = prepare(units, by="catalog")
    catalogs = [{e.address.catalog for e in part} for part in (prepared.train, prepared.test)]
    assert not catalogs[0] & catalogs[1]
    assert prepared.notes == (
        "1 of 2 validation examples (50.0 %) have a source text that is also in training, 0 of "
        "them with the same translation: scores on them are too good.",
        "1 of 2 test examples (50.0 %) have a source text that is also in training, 0 of them "
        "with the same translation: scores on them are too good.",
        "data.split.by=source keeps evaluated texts out of training.",
    )


def test_parts_far_from_their_wanted_size_are_reported():
    units = [u for name in "abc" for u in many(100, prefix=name, file=f"{name}.po")]
    prepared = prepare(units, by="file", validation_size=0.1, test_size=0)
    assert prepared.notes == (
        "validation holds 33.3 % of the examples where 10.0 % were wanted: what "
        "data.split.by=file keeps together is too large.",
        "There is no test split: scores are on validation, which choices were made on.",
    )


def test_random_gives_the_rows_of_datasets_subsets_too():
    units = many(300)
    rows = datasets.Dataset.from_dict({"source": [u.source for u in units]})
    theirs = rows.train_test_split(train_size=0.9, seed=20)
    prepared = prepare(units, by="random", train_size=0.9, seed=20)
    assert [e.source for e in prepared.train] == theirs["train"]["source"][:]
    assert [e.source for e in prepared.validation] == theirs["test"]["source"][:]
    assert list(prepared.test) == []
    few = prepare(
        units, by="random", train_size=0.9, seed=20, train_subset=(50, 42),
        evaluation_subset=(9, 7),
    )  # fmt: skip
    shuffled = theirs["train"].shuffle(seed=42).select(range(50))
    assert [e.source for e in few.train] == shuffled["source"][:]
    shuffled = theirs["test"].shuffle(seed=7).select(range(9))
    assert [e.source for e in few.validation] == shuffled["source"][:]
    assert few.counts["skipped"] == {"not in the subset": 220 + 21}


def test_random_divides_rows_as_read_and_filters_each_part():
    units = [unit(f"text {i}", *(["t"] if i % 3 else [])) for i in range(90)]
    rows = datasets.Dataset.from_dict({"row": list(range(90))})
    theirs = rows.train_test_split(train_size=0.9, seed=1)["test"]["row"]
    prepared = prepare(units, by="random", train_size=0.9, seed=1)
    assert [e.source for e in prepared.validation] == [f"text {i}" for i in theirs if i % 3]


def test_random_leaks_are_reported():
    units = [unit("Open", "Ouvrir"), unit("&Open", "Ouvre")] * 50
    prepared = prepare(units, by="random", duplicates="keep", validation_size=0, test_size=10)
    assert prepared.notes[0] == (
        "10 of 10 test examples (100.0 %) have a source text that is also in training, 10 of "
        "them with the same translation: scores on them are too good."
    )


def test_given_files_push_their_texts_out_of_training():
    validation = [unit("&Text 3", "x", file="v.po"), unit("other", "y", file="v.po")]
    prepared = prepare(many(50), validation, validation_size=0.5, test_size=0.1)
    assert prepared.counts == {
        "read": {"a.po": 50, "v.po": 2},
        "skipped": {"source also in validation or test": 1},
        "split": {"train": 44, "validation": 2, "test": 5},
    }
    assert "text 3" not in sources(prepared.train) | sources(prepared.test)
    assert prepared.notes == (
        "Left out of training because validation or test has the same source text: 1. "
        "data.split.by=random would keep them.",
    )


def test_given_files_with_another_split_are_only_compared():
    prepared = prepare(many(50), many(3), many(2), by="file")
    assert [len(p) for p in (prepared.train, prepared.validation, prepared.test)] == [50, 3, 2]
    assert find_leaks(prepared.train, validation=prepared.validation) == [
        Leak("validation", 3, 3, 3)
    ]
    assert "3 of 3 validation examples (100.0 %)" in prepared.notes[0]


def test_subset_is_taken_of_what_is_left_after_filtering():
    units = [*many(20), *(unit(f"no {i}") for i in range(20))]
    prepared = prepare(units, validation_size=0, test_size=5, train_subset=(10, 1))
    assert prepared.counts["split"] == {"train": 10, "validation": 0, "test": 5}
    assert prepared.counts["skipped"] == {"untranslated": 20, "not in the subset": 5}
    larger = prepare(units, validation_size=5, test_size=5, train_subset=(1000, 1))
    assert larger.notes == ("train has 10 examples, fewer than its subset's n=1,000: all.",)


def test_lines_are_paired_only_where_both_sides_have_as_many():
    units = [
        unit("One\n\nTwo ", " Un\nDeux"),
        unit("One line", "Une\nligne"),
        unit("Open", "Ouvrir"),
    ]
    prepared = prepare(units, validation_size=0, test_size=0)
    assert list(training_pairs(prepared.train)) == [
        ("One", "Un", 0),
        ("Two", "Deux", 0),
        ("Open", "Ouvrir", 2),
    ]
    assert num_unpaired(prepared.train) == 1
    assert prepared.notes[0] == (
        "Nothing is learned from 1 of the training examples: their two sides have different "
        "numbers of lines."
    )


def test_nothing_left_says_what_became_of_the_entries():
    units = [unit("a"), unit("b"), unit("c", "d", state="fuzzy")]
    assert message(units) == (
        "No pair is left for train: 3 entries were read and all were skipped (2 untranslated, "
        "1 fuzzy).\n"
        "Every part needs entries that have a source text and a finished translation.\n"
        "Translate some entries, or name other files in data.train."
    )


def test_nothing_left_of_a_given_file():
    assert message(many(9), [unit("c", "d", state="fuzzy")]) == (
        "No pair is left for validation: 1 entry was read and skipped (1 fuzzy).\n"
        "Every part needs entries that have a source text and a finished translation.\n"
        "Review the fuzzy entries and clear their flag, or name other files in data.validation."
    )


def test_nothing_read_at_all():
    assert message([]) == (
        "No entry was found in data.train.\n"
        "Training needs entries that have a source text and a translation.\n"
        "Name files with translations in data.train."
    )
    assert message(many(3), []) == (
        "No entry was found in data.validation.\n"
        "A file named there must hold entries that have a source text and a translation.\n"
        "Name files with translations in data.validation."
    )


def test_everything_learned_is_also_scored():
    assert message(many(4), many(4)) == (
        "No pair is left for train: 4 entries were read and all were skipped (4 source also in "
        "validation or test).\n"
        "Every part needs entries that have a source text and a finished translation.\n"
        "Name files in data.validation and data.test that hold other texts, or set "
        "data.split.by=random to keep them in training."
    )


def test_train_size_belongs_to_random_splits():
    assert message(many(9), train_size=0.9) == (
        "data.split.train_size=0.9 was given with data.split.by=source.\n"
        "train_size belongs to random splits; elsewhere data.split.validation and "
        "data.split.test say how much is held out.\n"
        "Set data.split.by=random, or leave train_size out."
    )
    assert message(many(9), many(2), by="random", train_size=0.9) == (
        "data.split.train_size=0.9 was given together with data.validation.\n"
        "With train_size, all other rows of data.train become validation.\n"
        "Leave out data.split.train_size or data.validation."
    )


@pytest.mark.skipif(not SHARED_KDE.exists(), reason="the KDE strings are not beside the checkout")
def test_real_strings_are_divided_without_leaks_in_seconds():
    with gzip.open(SHARED_KDE, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    units = [unit(row["translation"]["en"], row["translation"]["fr"]) for row in rows]
    started = time.perf_counter()
    prepared = prepare(units)
    assert time.perf_counter() - started < 20  # 1.5 s on an idle core
    assert prepared.counts["split"] == {"train": 109894, "validation": 13737, "test": 13737}
    assert not find_leaks(prepared.train, validation=prepared.validation, test=prepared.test)
