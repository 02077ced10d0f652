"""Classification on the command line: check, train, evaluate, classify."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from test_cli import attuner
from tiny_classifiers import reviews, write_encoder

from attuner.classified_output import is_table


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `reviews.csv`, an encoder, and a classifier tuned by the command line."""
    folder = tmp_path_factory.mktemp("moods")
    encoder = write_encoder(folder / "encoder")
    result = attuner(
        "train", "--model", str(encoder), "--data", str(reviews(folder / "reviews.csv")),
        "--text", "review", "--label", "mood", "training.epochs=8", "training.batch_examples=8",
        "training.learning_rate=0.005", "data.duplicates=keep", f"output.folder={folder}/runs",
        "training.precision=fp32", "--name", "moods",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (folder / "output.txt").write_text(result.stdout)
    return folder


def test_a_run_shows_scores_with_intervals_and_a_table_of_labels(tuned: Path) -> None:
    shown = (tuned / "output.txt").read_text()
    assert "Labels" in shown
    assert "Scores on test, before → after tuning:" in shown or "before -> after" in shown
    assert "label  precision  recall      F1  examples\n" in shown
    assert "  accuracy" in shown
    assert "[100.0, 100.0]" in shown
    assert f'attuner classify {tuned}/runs/moods/model "A text."' in shown


@pytest.mark.parametrize("text", ["a" * 5000, "good film, " * 60, "nul\0"])
def test_a_text_is_no_table_however_long(text: str) -> None:
    assert not is_table(text)


def test_check_shows_labels_lengths_and_cost(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # a title wider than its column is broken otherwise
    arguments = (
        "check", "--task", "classification", "--model", str(tuned / "encoder"), "--data",
        str(tuned / "reviews.csv"), "--text", "review", "--label", "mood",
    )  # fmt: skip
    result = attuner(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "tokens a text" in result.stdout
    assert "good" in result.stdout
    assert "scoring " in result.stdout
    assert "Example 1 (train), " in result.stdout
    found = json.loads(attuner(*arguments, "--json").stdout)
    read, skipped = found["counts"]["read"], found["counts"].get("skipped", {})
    assert sum(read.values()) == 48
    assert sum(found["counts"]["split"].values()) + sum(skipped.values()) == 48
    assert {name: sum(n[name] for n in found["labels"].values()) for name in ("bad", "good")}
    assert found["lengths"][0]["limit"] == 64
    assert found["cost"]["num_steps"] > 0


def test_check_shows_an_example_and_what_the_model_says(tuned: Path) -> None:
    result = attuner(
        "check", "--model", str(tuned / "runs/moods"), "--data", str(tuned / "reviews.csv"),
        "--text", "review", "--label", "mood", "--find", "red", "--model-output", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["num_found"] >= len(found["shown"]) > 0
    for shown in found["shown"]:
        assert "red" in shown["text"]
        assert shown["output"].split()[0] == shown["label"]
        assert shown["tokens"][0] == "[CLS]"
    gone = attuner(
        "check", "--model", str(tuned / "encoder"), "--data", str(tuned / "reviews.csv"),
        "--text", "review", "--label", "mood", "--row", "99",
    )  # fmt: skip
    assert gone.exit_code == 2
    assert gone.stderr.startswith("There is no example 99.\n")


def test_evaluate_takes_the_columns_from_the_model(tuned: Path) -> None:
    result = attuner("evaluate", str(tuned / "runs/moods"), str(tuned / "reviews.csv"))
    assert result.exit_code == 0, result.stderr
    assert "accuracy" in result.stdout
    assert "MCC" in result.stdout
    found = json.loads(
        attuner("evaluate", str(tuned / "runs/moods"), str(tuned / "reviews.csv"), "--json",
                "--metric", "macro_f1").stdout
    )  # fmt: skip
    assert list(found["scores"]) == ["macro_f1"]
    low, high = found["intervals"]["macro_f1"]
    assert low <= found["scores"]["macro_f1"] <= high
    assert sum(map(sum, found["confusion"])) == 48
    assert [row["name"] for row in found["labels"]] == ["bad", "good"]


def test_options_of_other_models_are_refused(tuned: Path) -> None:
    result = attuner(
        "evaluate", str(tuned / "runs/moods"), str(tuned / "reviews.csv"), "--source", "en",
        "--num-beams", "2",
    )  # fmt: skip
    assert result.exit_code == 2
    assert result.stderr == (
        f"{tuned}/runs/moods gives labels: it has no use of --source, --num-beams.\n"
        "Options of the data go with what the model does.\n"
        "Leave them out.\n"
    )


def test_unknown_labels_are_refused_or_counted(tuned: Path) -> None:
    data = tuned / "strange.csv"
    data.write_text("review,mood\ngood film,good\na film,strange\n")
    model = str(tuned / "runs/moods")
    refused = attuner("evaluate", model, str(data))
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Unknown labels in the data: `strange` 1.\n"
        "Known are: bad, good.\n"
        "Mend them, or leave such rows out, counted: --skip-bad-entries\n"
    )
    found = json.loads(attuner("evaluate", model, str(data), "--skip-bad-entries", "--json").stdout)
    assert found["counts"]["skipped"] == {"unknown label": 1}
    assert found["counts"]["scored"] == {"examples": 1}


def test_classify_a_text_and_lines(tuned: Path) -> None:
    model = str(tuned / "runs/moods")
    result = attuner("classify", model, "good film")
    label, rest = result.stdout.rstrip("\n").split("\t")
    assert label == "good"
    (first, share), (second, other) = (part.split() for part in rest.split(", "))
    assert (first, second) == ("good", "bad")
    assert float(share) > 0.5 > float(other)
    lines = attuner("classify", model, "-", "--json", "--logits", input="good film\nbad film\n")
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["label"] for row in found] == ["good", "bad"]
    assert [row["text"] for row in found] == ["good film", "bad film"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in found)
    assert all(len(row["logits"]) == 2 for row in found)
    file = tuned / "lines.txt"
    file.write_text("bad film\n")
    out = tuned / "out.txt"
    assert attuner("classify", model, str(file), "-o", str(out), "--logits").exit_code == 0
    assert out.read_text().startswith("bad\tbad 0.")
    assert "  logits " in out.read_text()


def test_classify_a_table(tuned: Path) -> None:
    model, data = str(tuned / "runs/moods"), tuned / "new.csv"
    data.write_text("id,review\n1,good film\n2,\n3,bad film\n")
    result = attuner("classify", model, str(data), "--logits")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == [
        "id", "review", "predicted", "probability", "logit bad", "logit good",
    ]  # fmt: skip
    assert [row["predicted"] for row in rows] == ["good", "", "bad"]
    assert result.stderr == "Without a label: no text 1\n"
    out = tuned / "new.jsonl"
    assert attuner("classify", model, str(data), "--json", "-o", str(out)).exit_code == 0
    assert [json.loads(line)["predicted"] for line in out.open()] == ["good", "", "bad"]
    same = attuner("classify", model, str(data), "-o", str(data))
    assert same.exit_code == 2
    assert same.stderr.startswith(f"--output {data} is the file that is read.\n")
    wrong = attuner("classify", model, str(data), "--text", "revue")
    assert wrong.exit_code == 1
    assert wrong.stderr == (
        f"{data}: no column `revue`.\nFound: id, review.\nName it: --text COLUMN\n"
    )


def test_columns_without_a_table(tuned: Path) -> None:
    result = attuner("classify", str(tuned / "runs/moods"), "good film", "--text", "review")
    assert result.exit_code == 2
    assert result.stderr == (
        "--text and --text-pair name columns, and there is no table.\n"
        "Lines hold a text each, or two with a tab between them.\n"
        "Leave them out, or give a table such as FILE.csv.\n"
    )


def test_pairs_stand_on_a_line_with_a_tab(tuned: Path) -> None:
    data = tuned / "pairs.csv"
    rows = [f"{a} film,{b} book,{'same' if a == b else 'other'}" for a in ("good", "bad")
            for b in ("good", "bad")] * 3  # fmt: skip
    data.write_text("one,two,label\n" + "\n".join(rows) + "\n")
    trained = attuner(
        "train", "--model", str(tuned / "encoder"), "--data", str(data), "--text", "one",
        "--text-pair", "two", "data.split.test=0", "data.duplicates=keep", "--json",
        "data.split.validation=0", "training.epochs=1", f"output.folder={tuned}/runs", "--name",
        "pairs",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    model = str(tuned / "runs/pairs")
    result = attuner("classify", model, "-", "--json", input="good film\tbad book\n")
    assert json.loads(result.stdout)["text_pair"] == "bad book"
    refused = attuner("classify", model, "good film")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "A line has no tab: good film\n"
        "The model compares two texts, which stand on one line with a tab between them.\n"
        "Put one in, or give a table: attuner classify MODEL pairs.csv\n"
    )
    found = json.loads(attuner("evaluate", model, str(data), "--json").stdout)
    assert found["counts"]["scored"] == {"examples": 12}


def test_a_demo_that_there_is_not() -> None:
    result = attuner("demo", "--task", "text-to-text")
    assert result.exit_code == 2
    assert result.stderr == (
        'There is no demo of "text-to-text".\nKnown: classification, translation.\n'
    )


def test_a_classifier_does_not_translate(tuned: Path) -> None:
    model = tuned / "runs/moods"
    result = attuner("translate", str(model), "good film")
    assert result.exit_code == 1
    assert result.stderr == (
        f"{model} gives labels, it does not translate.\n"
        "Expected a model that writes text.\n"
        f'Give it texts to classify: attuner classify {model} "A text."\n'
    )


def test_evaluate_by_a_metric_of_ones_own(tuned: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_metrics.py"
    file.write_text("def half(predictions, labels):\n    return {'half': 0.5}\n")
    arguments = ("evaluate", str(tuned / "runs/moods"), str(tuned / "reviews.csv"), "--function")
    result = attuner(*arguments, f"{file}:half", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["scores"]["half"], found["intervals"]["half"]) == (0.5, [0.5, 0.5])
    shown = attuner(*arguments, f"{file}:half").stdout
    assert "half" in shown
    assert " 0.50 [0.50, 0.50]  n=48|bootstrap=200|" in shown
    gone = attuner(*arguments, "gone.py:half")
    assert (gone.exit_code, gone.stderr.split("\n")[0]) == (
        2, "gone.py: no such file or directory.",
    )  # fmt: skip
