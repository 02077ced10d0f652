"""`attuner runs`: what run folders tell, whatever state they are in, and how runs compare."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attuner.cli.app import app
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.events import (
    DataPrepared,
    Delivered,
    Evaluated,
    Finished,
    Planned,
    Stepped,
)
from attuner.training.folder import RunFolder, write_lines
from attuner.training.lock import locked

SIGNATURES = {"bleu": "tok:13a", "chrf": "nc:6"}
Make = Callable[..., RunFolder]
SOURCES = ["Open the file", "Close the window", "Save it all", "Delete a word", "Restart it now"]


def attuner(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["runs", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def found(*arguments: str) -> Any:
    code, out, err = attuner(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def rows(after: list[str] | None, num: int = 40) -> list[dict[str, Any]]:
    """Held-out examples, of which the tuned model has said what is given, over and over."""
    return [
        {
            "source": f"{SOURCES[i % 5]} {i}",
            "references": [f"{SOURCES[i % 5]} {i}"],
            "before": "x",
            "after": after[i % len(after)].format(i=i) if after else None,
            "address": f"a.po:{i}",
        }
        for i in range(num)
    ]


def corpus(kept: list[dict[str, Any]]) -> dict[str, float]:
    from attuner.evaluation.metrics import METRICS

    texts, references = [row["after"] for row in kept], [row["references"] for row in kept]
    return {name: METRICS[name](texts, references, "fr").value for name in ("bleu", "chrf")}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a run folder as a run leaves it."""

    def write(
        name: str,
        *options: str,
        said: list[str] | None = None,
        num: int = 40,
        ends: str = "finished",
    ) -> RunFolder:
        folder = RunFolder(tmp_path / "runs" / name)
        folder.path.mkdir(parents=True)
        recipe = load_recipe(
            None,
            [
                "task.name=translation", "task.source=en", "task.target=fr", "model=base",
                "data.train=a.po", f"output.name={name}", *options,
            ],
        )  # fmt: skip
        folder.recipe.write_text(dump_recipe(recipe), encoding="utf-8")
        if ends == "not begun":
            return folder
        manifest = {
            "began": f"2026-11-2{len(list(folder.path.parent.iterdir()))}T10:30:00+00:00",
            "recipe": recipe.model_dump(mode="json"),
        }
        folder.manifest.write_text(json.dumps(manifest), encoding="utf-8")
        before = {"loss": 2.0, "bleu": 10.0, "chrf": 30.0}
        counts = {"read": {"a.po": 60}, "skipped": {"fuzzy": 4}, "split": {"train": 40}}
        folder.append(DataPrepared(counts, ("2 texts leak.",)))
        for split in ("validation", "test"):
            folder.append(Evaluated("before", split, 0, 0.0, before, SIGNATURES))
        folder.append(
            Planned(40, 900, 2.0, 4, "512 target tokens", 1, 7_600_000, "cpu", "fp32", "", "packed")
        )
        for step in range(1, 5 if ends == "finished" else 4):
            folder.append(Stepped(step, 4, step / 2, 3 - step / 2, 1e-4, 1.0, 20, 450, float(step)))
            if step % 2 == 0:
                scores = {"loss": 2 - step / 4, "bleu": 10.0 + step, "chrf": 30.0 + 2 * step}
                folder.append(
                    Evaluated(
                        "epoch", "validation", step, step / 2, scores, SIGNATURES, 2.5, is_best=True
                    )
                )
        if ends != "finished":
            (folder.checkpoints / "step-000002").mkdir(parents=True)
            (folder.checkpoints / "step-000002/state.json").write_text("{}", encoding="utf-8")
            write_lines(folder.translations, rows(None))
            return folder
        kept = rows(said or ["Open {i}", "Close"], num)
        after = {"loss": 1.0, **corpus(kept)}
        write_lines(folder.translations, kept)
        folder.model.mkdir()
        folder.append(Finished("done", 4, 80, 9.0, 8.0, best_step=4))
        folder.append(Evaluated("after", "test", 4, 2.0, after, SIGNATURES))
        folder.append(Delivered(folder.path, folder.model, before, after, SIGNATURES, "test", 75.4))
        return folder

    return write


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


GOOD = ["Open the file {i}", "Close the window {i}", "Save it all {i}", "x", "Restart it {i}"]


def test_list_in_every_state(make: Make) -> None:
    make("done", said=GOOD)
    make("cut", ends="stopped")
    make("new", ends="not begun")
    (Path("runs") / "foreign").mkdir()
    broken = make("broken")
    broken.manifest.write_text('{"a": ', encoding="utf-8")
    listed = found("list")

    assert [(run["name"], run["state"]) for run in listed["runs"]] == [
        ("new", "not begun"), ("done", "finished"), ("cut", "stopped"),
    ]  # fmt: skip
    _, done, cut = listed["runs"]
    assert (done["seconds"], done["split"], done["metric"]) == (75.4, "test", "chrf")
    assert (done["before"]["chrf"], done["began"]) == (30.0, "2026-11-21T10:30:00+00:00")
    assert (cut["step"], cut["num_steps"], cut["after"]) == (3, 4, {})
    assert listed["skipped"]["foreign"] == "is no run folder: it has no recipe.yaml."
    assert listed["skipped"]["broken"].startswith("runs/broken/manifest.json cannot be read: ")


def test_the_list_for_a_person(make: Make) -> None:
    done = make("done", said=GOOD)
    make("cut", ends="stopped")
    (Path("runs") / "foreign").mkdir()
    chrf = corpus(rows(GOOD))["chrf"]
    code, out, _ = attuner("list")

    assert code == 0
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert lines[1] == ["run", "scores", "state", "began", "took", "task", "model"]
    assert lines[3] == [
        "done", f"chrF 30.00 → {chrf:.2f}", "finished", "2026-11-21", "1 min 15 s", "en → fr",
        "base",
    ]  # fmt: skip
    assert lines[4][2:5] == ["stopped", "2026-11-22", "step 3 of 4"]
    assert out.splitlines()[-2:] == [
        "1 folder was passed over:", "  foreign: is no run folder: it has no recipe.yaml.",
    ]  # fmt: skip
    assert done.path.is_dir()


def test_a_narrow_terminal_is_told_what_is_left_out(make: Make) -> None:
    make("a-run-with-a-rather-long-name", said=GOOD)
    result = CliRunner(env={"COLUMNS": "72"}).invoke(app, ["runs", "list"])

    assert max(map(len, result.stdout.splitlines())) <= 72
    assert "For want of room without took, task, model: all is in --json." in result.stdout


def test_a_run_that_is_trained_just_now(make: Make) -> None:
    folder = make("busy", ends="stopped")
    with locked(folder):
        assert found("list")["runs"][0]["state"] == "running"
    assert found("list")["runs"][0]["state"] == "stopped"


def test_nothing_is_changed_by_looking(make: Make) -> None:
    for name in ("one", "two"):
        make(name, said=GOOD)
    make("cut", ends="stopped")

    def state() -> dict[str, tuple[int, bytes]]:
        files = (path for path in Path("runs").rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    for arguments in (["list"], ["show", "one"], ["show", "cut"], ["compare", "one", "two"]):
        assert attuner(*arguments, *(["--plot", "c.png"] if len(arguments) > 2 else []))[0] == 0
    assert state() == before


def test_show(make: Make) -> None:
    make("done", "training.learning_rate=1e-3", "data.max_source_tokens=64", said=GOOD)
    Path("runs/done/curves.png").write_bytes(b"")
    shown = found("show", "done")

    assert shown["options"] == {
        "task.source": "en", "task.target": "fr", "model.checkpoint": "base",
        "data.train[0].path": "a.po", "data.max_source_tokens": 64,
        "training.learning_rate": 1e-3,
    }  # fmt: skip
    assert shown["counts"]["skipped"] == {"fuzzy": 4}
    assert [row["scores"]["chrf"] for row in shown["epochs"]] == [30.0, 34.0, 38.0]
    _, out, _ = attuner("show", "runs/done")
    lines = out.splitlines()
    assert lines[0] == "runs/done: finished in 1 min 15 s, begun 2026-11-21 10:30 UTC"
    assert "  training.learning_rate  0.001" in lines
    assert "Skipped           4  fuzzy 4" in lines
    assert "    2.00         2.5000           1.0000    14.00    38.00  *" in lines
    assert f"  chrF   30.00 → {shown['after']['chrf']:.2f}" in out
    assert {"Loss, by epoch", "chrF on validation, by epoch"} <= set(lines)
    assert lines[-1] == "Curves: runs/done/curves.png"


def test_show_of_a_classifier_leaves_its_tasks_own_defaults_out(make: Make) -> None:
    folder = make("labels", ends="not begun")
    recipe = load_recipe(
        None, ["task.name=classification", "model=base", "data.train=a.csv", "training.epochs=9"]
    )
    folder.recipe.write_text(dump_recipe(recipe), encoding="utf-8")

    assert found("show", "labels")["options"] == {
        "model.checkpoint": "base", "data.train[0].path": "a.csv", "training.epochs": 9.0,
    }  # fmt: skip


def test_show_of_a_run_that_was_broken_off(make: Make) -> None:
    folder = make("cut", ends="stopped")
    with folder.metrics.open("a", encoding="utf-8") as file:
        file.write('{"event": "stepped", "step": "many"}\n{"event": "sneezed"}\n[1]\n{"event": "st')
    code, out, _ = attuner("show", "cut")

    assert code == 0
    assert out.startswith("runs/cut: stopped at step 3 of 4, begun 2026-11-21 10:30 UTC\n")
    assert out.endswith(
        "Lines that tell of no event that is known: 4.\n"
        "Go on with it: attuner train --resume runs/cut\n"
    )


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\x00", b"[]\n", b'{"event": []}\nnull\n3\n'])
@pytest.mark.parametrize("name", ["metrics.jsonl", "translations.jsonl"])
def test_junk_is_no_traceback(make: Make, name: str, junk: bytes) -> None:
    for run in ("one", "two"):
        make(run, said=GOOD)
    Path("runs/two", name).write_bytes(junk)

    for arguments in (["list"], ["show", "two"], ["compare", "one", "two"]):
        assert attuner(*arguments)[0] == 0


@pytest.mark.parametrize(
    ("name", "junk"),
    [
        ("manifest.json", "{"), ("manifest.json", "[]"), ("manifest.json", '{"recipe": 3}'),
        ("manifest.json", '{"recipe": {"task": {}, "model": 1}}'),
        ("manifest.json", '{"recipe": {"task": {}, "model": {}, "training": {}, "output": {}}}'),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_shown_says_why(make: Make, name: str, junk: str) -> None:
    make("bad", said=GOOD)
    Path("runs/bad", name).write_text(junk, encoding="utf-8")
    code, _, err = attuner("show", "bad")

    assert code == 1
    assert "runs/bad" in err


def test_errors(make: Make, tmp_path: Path) -> None:
    assert attuner("list")[2] == (
        "runs: no such folder.\n"
        "Runs lie in the folder that their recipe names (output.folder), or in runs.\n"
        "Name another one with --folder, or train: attuner demo\n"
    )
    make("demo", said=GOOD)
    assert attuner("show", "demmo")[2] == (
        "There is no run demmo: neither a folder of that name, nor one in runs.\n"
        'Did you mean "demo"? Known: demo.\n'
        "List the runs: attuner runs list --folder runs\n"
    )
    assert attuner("show", str(tmp_path))[2] == (
        f"{tmp_path} is no run folder: it has no recipe.yaml.\n"
        "Expected a folder that `attuner train` wrote, such as runs/NAME.\n"
        "List the runs: attuner runs list\n"
    )
    assert attuner("compare", "demo")[::2] == (
        2,
        "Only one run was named.\n"
        "A comparison is of two runs, or more.\n"
        "Type: attuner runs compare demo OTHER, or: attuner runs show demo\n",
    )
    assert attuner("compare", "demo", "runs/demo")[2] == (
        "demo was named twice.\nRuns are told apart by the names of their folders.\n"
    )


def test_compare(make: Make) -> None:
    make("base", said=["Open {i}", "Close", "Save it", "a word", "now {i}"])
    make("better", "training.epochs=9", "model.dropout=0.2", said=GOOD)
    compared = found("compare", "base", "better")

    assert compared["options"] == {"model.dropout": [None, 0.2], "training.epochs": [3.0, 9.0]}
    assert compared["same_examples"] == 40
    assert compared["warnings"] == []
    before, after = (run["after"]["chrf"] for run in compared["runs"])
    difference = compared["differences"]["better"]["chrf"]
    assert difference["value"] == pytest.approx(after - before)
    assert difference["interval"][0] > 0
    assert difference["p_value"] < 0.01
    assert compared["plot"] == "runs/compare-base-better.png"
    assert Path(compared["plot"]).read_bytes().startswith(b"\x89PNG")


def test_compare_for_a_person(make: Make) -> None:
    make("base", said=GOOD)
    make("same", "training.epochs=9", said=GOOD)
    _, out, _ = attuner("compare", "base", "same", "--plot", "both.png")
    lines = out.splitlines()

    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "training.epochs", "3.0", "9.0",
    ]  # fmt: skip
    assert "Scores on test, before → after tuning, 40 examples, the same in all:" in lines
    assert "  chrF  +0.00 [+0.00, +0.00], p = 1.000: may be chance" in lines
    assert "chrF on validation, by epoch" in lines
    assert lines[-1] == "Curves: both.png"


def test_scores_on_different_examples_are_not_compared(make: Make) -> None:
    make("base", said=GOOD)
    make("other", said=GOOD, num=45)
    compared = found("compare", "base", "other")

    assert compared["differences"] == {}
    assert compared["same_examples"] == 0
    assert compared["warnings"] == [
        "Scores are not comparable: base and other were scored on different examples (40 and 45, "
        "40 of them the same)."
    ]


def test_runs_that_are_not_over_are_compared_as_far_as_they_are(make: Make) -> None:
    make("base", said=GOOD)
    make("cut", ends="stopped")
    make("new", ends="not begun")
    compared = found("compare", "base", "cut", "new")

    assert compared["warnings"] == [
        "cut is not finished: it has no scores after tuning.",
        "new is not finished: it has no scores after tuning.",
    ]
    assert attuner("compare", "cut", "new")[0] == 0


def test_outputs_that_do_not_give_the_runs_score_are_not_tested(make: Make) -> None:
    make("base", said=GOOD)
    changed = make("changed", said=GOOD)
    write_lines(changed.translations, rows(["Open {i}"]))

    assert found("compare", "base", "changed")["differences"] == {"changed": {}}


def test_metrics_with_other_settings_are_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("base", said=GOOD)
    monkeypatch.setitem(SIGNATURES, "bleu", "tok:zh")
    make("other", said=GOOD)

    assert found("compare", "base", "other")["warnings"] == [
        "bleu was measured by different settings: base tok:13a, other tok:zh"
    ]


def test_a_picture_that_cannot_be_written(make: Make) -> None:
    for name in ("one", "two"):
        make(name, said=GOOD)

    assert attuner("compare", "one", "two", "--plot", "no/where.png")[2] == (
        "no/where.png cannot be written: No such file or directory.\n"
        "The curves are drawn into a PNG file.\n"
        "Name another one: --plot FILE\n"
    )


def test_a_picture_of_a_kind_that_there_is_not(make: Make) -> None:
    for name in ("one", "two"):
        make(name, said=GOOD)
    code, _, said = attuner("compare", "one", "two", "--plot", "both.bild")

    assert code == 1
    assert said.startswith("both.bild cannot be written: Format 'bild' is not supported")
    assert said.endswith("\nName another one: --plot FILE\n")


def test_several_seeds(make: Make) -> None:
    folder = make("seeds", "training.seeds=2", ends="not begun")
    lines = [
        {
            "seed": seed, "folder": f"seed-{seed}", "split": "test", "before": {"chrf": 30.0},
            "after": {"chrf": chrf}, "seconds": 30.0, "counts": {},
        }
        for seed, chrf in ((42, 60.0), (43, 62.0))
    ]  # fmt: skip
    write_lines(folder.seeds, lines[:1])
    assert found("list")["runs"][0]["state"] == "stopped"
    write_lines(folder.seeds, lines)
    folder.model.mkdir()

    run = found("show", "seeds")
    assert (run["state"], run["after"], run["seconds"]) == ("finished", {"chrf": 61.0}, 60.0)
    assert "seed 43" in attuner("show", "seeds")[1]
    make("single", said=GOOD)
    assert found("compare", "single", "seeds")["warnings"] == [
        "seeds: the scores are means over seeds. Differences are tested between single runs, such "
        "as runs/NAME/seed-42."
    ]


def test_means_over_seeds_beside_runs_with_other_settings(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("one", said=GOOD)
    monkeypatch.setitem(SIGNATURES, "chrf", "nc:5")
    make("two", said=GOOD)
    folder = make("seeds", "training.seeds=2", ends="not begun")
    scores = {"split": "test", "before": {}, "after": {"chrf": 6.0}, "seconds": 3.0, "counts": {}}
    write_lines(folder.seeds, [{"seed": seed, **scores} for seed in (42, 43)])

    assert found("compare", "one", "two", "seeds")["warnings"][0] == (
        "chrf was measured by different settings: one nc:6, two nc:5"
    )


def test_seeds_of_two_runs_are_compared_by_their_runs_names(make: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        single = make("single", said=GOOD)
        (tmp_path / "runs" / name).mkdir()
        shutil.move(single.path, tmp_path / "runs" / name / "seed-42")
    compared = found("compare", "runs/one/seed-42", "runs/two/seed-42")

    assert [run["name"] for run in compared["runs"]] == ["one-seed-42", "two-seed-42"]
    assert compared["differences"]["two-seed-42"]["chrf"]["value"] == 0


def test_examples_that_are_there_twice_are_compared(make: Make) -> None:
    for name in ("base", "other"):
        folder = make(name, said=GOOD)
        kept = [{**row, "address": f"a.po:{i}"} for i, row in enumerate(rows(GOOD, 10) * 4)]
        write_lines(folder.translations, kept)
        events = folder.events()
        for event in events:
            if event["event"] == "evaluated" and event["when"] == "after":
                event["scores"] |= corpus(kept)
        write_lines(folder.metrics, events)
    compared = found("compare", "base", "other")

    assert compared["same_examples"] == 40
    assert compared["warnings"] == []


def test_a_folder_of_the_same_name_does_not_hide_a_run(make: Make, tmp_path: Path) -> None:
    make("demo")
    (tmp_path / "demo").mkdir()
    assert found("show", "demo")["state"] == "finished"


@pytest.mark.parametrize("kind", ["single", "multi", "rating"])
def test_classifiers_are_compared_by_what_they_said(make: Make, kind: str) -> None:
    from attuner.training.past_reading import read_run

    truths = {"single": ["a", "b"], "multi": [["a"], ["a", "b"]], "rating": [1.0, 4.5]}[kind]
    metric, scores = {
        "single": ("accuracy", (50.0, 100.0)), "multi": ("accuracy", (50.0, 100.0)),
        "rating": ("mae", (1.75, 0.0)),
    }[kind]  # fmt: skip
    for name, is_right, score in zip(("base", "good"), (False, True), scores, strict=True):
        folder = make(name)
        said = [
            {
                "text": f"text {i}", "label": truths[i % 2], "before": None, "address": "a",
                "after": {
                    "label": truths[i % 2] if is_right else truths[0],
                    **({} if kind == "rating" else {"probabilities": {"a": 0.5, "b": 0.5}}),
                },
            }
            for i in range(20)
        ]  # fmt: skip
        write_lines(folder.predictions, said)
        recipe = load_recipe(
            None, ["task.name=classification", f"task.kind={kind}", "model=b", "data.train=a.csv"]
        )
        manifest = {"began": "2026", "recipe": recipe.model_dump(mode="json")}
        folder.manifest.write_text(json.dumps(manifest), encoding="utf-8")
        after = {metric: score}
        folder.append(Evaluated("after", "test", 4, 2.0, after, {}))
        assert read_run(folder.path).after == after
    compared = found("compare", "base", "good")

    difference = compared["differences"]["good"][metric]
    assert difference["value"] == pytest.approx(scores[1] - scores[0])
    assert difference["p_value"] < 0.01


@pytest.mark.parametrize("arguments", [["list"], ["show", "one"], ["compare", "one", "two"]])
def test_torch_is_not_imported(make: Make, arguments: list[str]) -> None:
    for name in ("one", "two"):
        make(name, said=GOOD)
    code = (
        "import sys\n"
        "from attuner.cli import main\n"
        f"sys.argv = ['attuner', 'runs', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert not done.code\n"
        "assert not {'torch', 'transformers', 'datasets', 'accelerate'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
