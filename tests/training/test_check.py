import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from attuner.errors import UsageError
from attuner.inspection_view import render
from attuner.recipe import Recipe
from attuner.training.check import check, to_json
from attuner.training.data import data_files, prepare_data
from attuner.training.events import Progressed

NUM_ROWS = 40


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "strings.tsv"
    rows = [f"Open file {n}\tOuvrir le fichier {n}" for n in range(NUM_ROWS - 2)]
    rows += ["Copy %1 to ☃\tCopier vers ☃", "Untranslated\t"]
    path.write_text("\n".join(["en\tfr", *rows]) + "\n", encoding="utf-8")
    return path


def recipe(path, **sections):
    return Recipe.model_validate(
        {
            "task": {"name": "translation", "source": "en", "target": "fr"},
            "model": "embedded:en-fr",
            "data": {"train": str(path)},
            "training": {"batch_examples": 8, "epochs": 2},
        }
        | sections
    )


@pytest.fixture(scope="module")
def checked(table):
    events = []
    answer = check(recipe(table), listener=events.append)
    return answer, events


def printed(checked, **options):
    stream = io.StringIO()
    render(checked, Console(file=stream, markup=False, highlight=False, width=100, **options))
    return stream.getvalue()


def test_the_recipe_s_words_reach_reading_and_preparation(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("from,to\nOpen file 3,Ouvre\nClose,Fermer\n", encoding="utf-8")
    prepared = prepare_data(
        recipe(
            table,
            data={
                "train": [{"path": str(table), "weight": 2}],
                "validation": {
                    "path": str(other),
                    "columns": {"source": "from", "target": "to"},
                    "target_language": "fr-CA",
                },
                "split": {"test": 5},
                "train_subset": {"n": 10, "seed": 1},
            },
        )
    )
    assert prepared.counts == {
        "read": {str(table): NUM_ROWS, str(other): 2},
        "skipped": {
            "not in the subset": NUM_ROWS - 2 - 5 - 10,
            "untranslated": 1,
            "source also in validation or test": 1,
        },
        "split": {"train": 10, "validation": 2, "test": 5},
    }
    assert {example.weight for example in prepared.train} == {2.0}
    assert {example.target_language for example in prepared.validation} == {"fr-CA"}
    assert {example.target_language for example in prepared.train} == {"fr"}


def test_entries_that_reading_left_out_are_counted(tmp_path):
    path = tmp_path / "strings.jsonl"
    rows = [{"en": f"text {n}", "fr": f"texte {n}"} for n in range(5)]
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"en": "cut off\n', encoding="utf-8")
    data = {"train": str(path), "bad_entries": "skip", "split": {"validation": 0, "test": 0}}
    prepared = prepare_data(recipe(path, data=data))
    assert sum(prepared.counts["skipped"].values()) == 1
    assert prepared.counts["split"]["train"] == 5


def test_progress_counts_what_was_read(table):
    calls = []
    prepare_data(recipe(table), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(NUM_ROWS, 0)]


def test_data_files_are_the_local_files(table):
    assert data_files(recipe(table)) == [Path(table)]


def test_a_check_shows_the_data_the_cost_and_the_first_examples(checked):
    answer, events = checked
    assert answer.inspection.counts["skipped"] == {"untranslated": 1}
    assert answer.inspection.counts["split"] == {"train": 31, "validation": 4, "test": 4}
    assert answer.cost.num_steps == 8  # ceil(31 / 8) an epoch, two of them
    assert (answer.cost.batch, answer.cost.device) == ("8 examples", "cpu")
    assert answer.cost.measured_steps == 3
    assert answer.cost.training_seconds == pytest.approx(8 * answer.cost.seconds_a_step)
    assert answer.cost.seconds_a_step > 0
    assert answer.cost.evaluation_seconds > 0
    assert answer.cost.peak_memory_bytes > 100e6  # weights, gradients, moments: 7.6 M x 16 bytes
    assert [shown.row for shown in answer.shown] == [1, 2, 3]
    assert answer.num_found is None
    assert Progressed("Measuring updates", 4, 4) in events


def test_a_check_as_json(checked):
    plain = json.loads(json.dumps(to_json(checked[0])))
    lost = [entry["name"] for trip in plain["inspection"]["round_trips"] for entry in trip["lost"]]
    assert lost == ["U+2603 SNOWMAN"] * 2
    assert plain["cost"]["num_steps"] == 8


def test_a_check_without_a_terminal_is_plain_text(checked):
    text = printed(checked[0])
    assert "\x1b" not in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0].startswith("Read             40  ")
    assert "Skipped           1  untranslated 1" in lines
    assert "Split            39  train 31, validation 4, test 4" in lines
    assert "1 pair to look at: the target lacks placeholders of the source, or has others." in lines
    assert any("U+2603 SNOWMAN" in line and "unknown" in line for line in lines)
    assert any(line.startswith("Updates   8 steps of 8 examples, ") for line in lines)
    assert "The first examples as the model sees them:" in lines


def test_a_console_without_unicode_gets_escapes(checked):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    render(checked[0], Console(file=stream, markup=False, width=100))
    stream.flush()
    assert b"\\u2603" in raw.getvalue()


def test_one_row_in_full(table):
    answer = check(recipe(table), row=2)
    assert (answer.inspection, answer.cost, answer.num_found) == (None, None, None)
    (shown,) = answer.shown
    assert (shown.row, shown.part) == (2, "train")
    number = shown.source.removeprefix("Open file ")
    assert shown.references == (f"Ouvrir le fichier {number}",)
    assert shown.address == f"{table}:{int(number) + 2}"
    (line,) = shown.source_lines
    assert line.tokens[0] == "▁Open"
    assert line.tokens[-1] == "</s>"
    assert shown.output is None


def test_examples_with_a_text_and_what_the_untuned_model_says(table):
    answer = check(recipe(table), find="COPIER", model_output=True)
    assert answer.num_found == 1
    (shown,) = answer.shown
    assert "%1" in shown.output
    assert printed(answer).splitlines()[0] == "1 example holds this text."
    assert f"  untuned   {shown.output}" in printed(answer).splitlines()


def test_at_most_ten_of_those_found_are_shown(table):
    answer = check(recipe(table), find="open")
    assert (answer.num_found, len(answer.shown)) == (38, 10)
    nothing = check(recipe(table), find="kernel")
    assert printed(nothing).rstrip() == "0 examples hold this text."


def test_long_lines_show_where_they_are_cut(table):
    data = {"train": str(table), "max_source_tokens": 3}
    (shown,) = check(recipe(table, data=data), row=1).shown
    (line,) = shown.source_lines
    kept, cut = " ".join(line.tokens[:3]), len(line.tokens) - 3
    assert f"tokens: {kept} ... {cut} more are cut" in printed(
        check(recipe(table, data=data), row=1)
    )


def test_a_row_that_is_not_there(table):
    with pytest.raises(UsageError) as caught:
        check(recipe(table), row=40)
    assert str(caught.value) == (
        "There is no example 40.\n"
        "The examples are counted from 1 to 39, through training, validation and test.\n"
        "Choose another --row, or look for a text with --find."
    )
