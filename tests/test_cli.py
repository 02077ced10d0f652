"""The command line: exit codes, messages, JSON, what it imports, how it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from checkpoints import write_checkpoint
from engines import Echo
from rich.console import Console
from typer.testing import CliRunner

from attuner.cli.app import app, main
from attuner.cli.output import open_display, print_json
from attuner.cli.scoring import EVALUATE_FLAGS
from attuner.errors import DataError
from attuner.inference import translator
from attuner.models.languages import Pair
from attuner.training.events import Progressed

COMMANDS = [
    "demo", "recipes", "check", "train", "runs", "evaluate", "translate", "classify", "card",
    "export", "push", "schema",
]  # fmt: skip


class Result(SimpleNamespace):
    exit_code: int
    stdout: str
    stderr: str


def attuner(*arguments: str, input: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(arguments), input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)


def shell(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attuner", *arguments],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def shouting(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A translator that shouts; returns the batches that it was given."""
    batches: list[list[str]] = []

    def translate(texts: list[str]) -> list[str]:
        batches.append(list(texts))
        return [f"{text.upper()} É" for text in texts]

    loaded = SimpleNamespace(translate=translate, whole_texts=False)
    monkeypatch.setattr(translator, "load", lambda model, **_: loaded)
    return batches


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Training that only remembers what it was asked for."""
    asked: list[object] = []
    done = SimpleNamespace(
        folder=tmp_path / "runs/x", model_folder=tmp_path / "runs/x/model",
        before={"bleu": 1.0}, after={"bleu": 2.0}, seconds=3.5, counts={"read": {"a.po": 4}},
        spreads={}, hub_url=None,
    )  # fmt: skip

    def train(recipe: object, *, listeners: object) -> object:
        asked.append(recipe)
        return done

    def resume(path: Path, recipe: object, *, inexact: bool, listeners: object) -> object:
        asked.append((path, recipe, inexact))
        return done

    def begin_or_resume(recipe: object, *, inexact: bool, listeners: object) -> object:
        asked.append((recipe, inexact))
        return done

    module = SimpleNamespace(train=train, resume=resume, begin_or_resume=begin_or_resume)
    monkeypatch.setitem(sys.modules, "attuner.training.run", module)
    monkeypatch.chdir(tmp_path)
    return asked


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from attuner.cli import main\n"
        "sys.argv = ['attuner', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0, done.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pydantic', 'ruamel', 'rich',\n"
        "         'ctranslate2', 'sacrebleu', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = [line.split()[0] for line in done.stdout.split("Commands:")[1].splitlines() if line]
    assert listed == COMMANDS


def test_help_takes_a_third_of_a_second() -> None:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(3):
        before = spent()
        assert shell("--help").returncode == 0
        seconds.append(spent() - before)
    # 0.14 s measured. Time on the processor: what else runs hardly lengthens it.
    assert min(seconds) <= 0.3


def test_version() -> None:
    from importlib.metadata import version

    done = shell("--version")
    assert (done.returncode, done.stdout) == (0, f"attuner {version('attuner')}\n")


@pytest.mark.parametrize(
    "command",
    [[name] for name in COMMANDS if name not in ("recipes", "runs")]
    + [["recipes", "list"], ["recipes", "copy"]]
    + [["runs", "list"], ["runs", "show"], ["runs", "compare"]],
)
def test_every_command_takes_json(command: list[str]) -> None:
    assert "--json" in attuner(*command, "--help").stdout


def test_usage_errors_exit_2() -> None:
    assert attuner("traain").exit_code == 2
    assert attuner("train", "--no-such-option").exit_code == 2
    assert attuner("translate").exit_code == 2


def test_user_error_has_no_traceback(tmp_path: Path) -> None:
    done = shell("train", "absent.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "absent.yaml: no such file.\n"
        "A recipe is a YAML file.\n"
        "Start from a ready one: attuner recipes list\n"
    )


def test_a_failure_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, **_: Any) -> None:
        raise DataError("It broke.", "It should hold.", "Mend it.")

    monkeypatch.setattr(translator, "load", load)
    result = attuner("translate", "model", "text")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "It broke.\nIt should hold.\nMend it.\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, **_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(translator, "load", load)
    with pytest.raises(ZeroDivisionError):
        attuner("translate", "model", "text")


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(translator, "load", load)
    result = attuner("translate", "model", "text")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_interrupt_before_a_command_has_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.main.get_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_interrupt_while_waiting_for_input() -> None:
    code = (
        "import sys, types\n"
        "from attuner.inference import translator\n"
        "def load(model, **_):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    return types.SimpleNamespace(whole_texts=False)\n"
        "translator.load = load\n"
        "sys.argv = ['attuner', 'translate', 'm', '-']\n"
        "from attuner.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == "Interrupted.\n"
    assert process.wait(timeout=20) == 130


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "attuner", "schema"],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "attuner", "recipes", "list"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    said = "The disk is full. Make room, then type it again.\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_recipes_list() -> None:
    names = [
        "chapter-mrpc", "chapter-reviews", "chapter-translation", "classification", "demo",
        "demo-classification", "m2m100", "mbart50", "nllb-3.3b", "nllb-domain",
        "opus-mt-kde", "pretrain-en-fr", "t5-summaries", "t5-translation", "translation",
    ]  # fmt: skip
    result = attuner("recipes", "list", "--json")
    listed = json.loads(result.stdout)
    assert list(listed["recipes"]) == names
    assert list(listed["launches"]) == ["fsdp-4x8-gpus", "fsdp-8-gpus"]
    first, second = attuner("recipes", "list").stdout.split("\n\n")
    assert [line.split()[0] for line in first.splitlines()] == names
    title, *launches = second.splitlines()
    assert title == "For accelerate launch --config_file:"
    assert [line.split()[0] for line in launches] == list(listed["launches"])


def test_recipes_copy(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    result = attuner("recipes", "copy", "demo", str(file))
    assert result.stdout == f"Wrote {file}. Train with it: attuner train {file}\n"
    assert file.is_file()
    again = attuner("recipes", "copy", "demo", str(file))
    assert again.exit_code == 2
    assert again.stderr.startswith(f"{file} exists already.\n")


def test_schema_allows_what_recipes_allow() -> None:
    schema = json.loads(attuner("schema").stdout)
    assert {"type": "string"} in schema["properties"]["model"]["anyOf"]
    assert {"type": "string"} in schema["properties"]["data"]["anyOf"]
    assert set(schema["required"]) == {"task", "model", "data"}
    on_one_line = attuner("schema", "--json").stdout
    assert on_one_line.count("\n") == 1
    assert json.loads(on_one_line) == schema


def test_train_with_flags_and_overrides(finished: list[object]) -> None:
    result = attuner(
        "train", "training.epochs=1", "--model", "m", "--data", "a.po", "--data", "b.po",
        "--source", "en", "--target", "no", "--name", "first", "--json",
    )  # fmt: skip
    assert result.exit_code == 0
    (recipe,) = finished
    assert [source.path for source in recipe.data.train] == ["a.po", "b.po"]  # type: ignore[attr-defined]
    assert recipe.training.epochs == 1  # type: ignore[attr-defined]
    assert recipe.task.target == "no"  # type: ignore[attr-defined]
    assert recipe.output.name == "first"  # type: ignore[attr-defined]


def test_check_takes_the_flags_that_its_advice_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from attuner.training import check

    asked: list[Any] = []

    def note(recipe: Any, **options: Any) -> check.Checked:
        asked.append(recipe)
        return check.Checked(None, None, ())

    monkeypatch.setattr(check, "check", note)
    monkeypatch.setattr(check, "to_json", lambda checked: {})
    result = attuner("check")
    assert result.exit_code == 2
    advised = result.stderr.rsplit("a first run needs: ", 1)[1].split()
    assert attuner("check", *advised, "--json").exit_code == 0
    assert asked[0].data.train[0].path == "FILE"


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("is_refused", [True, False])
def test_check_fails_where_training_would_refuse_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, is_refused: bool, form: list[str]
) -> None:
    from attuner.models.soundness import Finding
    from attuner.training import check
    from attuner.training.self_check import SelfChecked

    found = SelfChecked("base", (Finding("Broken.", "Whole.", "Mend it."),), ("not run",), 0.5)
    answer = check.Checked(None, None, (), self_check=found, is_refused=is_refused)
    monkeypatch.setattr(check, "check", lambda recipe, **options: answer)
    result = attuner("check", "model=base", "data=x.po", "--source", "en", "--target", "fr", *form)

    assert result.exit_code == is_refused
    if form:
        assert json.loads(result.stdout)["self_check"]["findings"][0]["happened"] == "Broken."
    else:
        lines = [
            "Self-check, damage: Broken.",
            "Whole.",
            "Mend it.",
            "Self-check: not run (0.5 s).",
        ]
        assert result.stdout.split("\n")[1:5] == lines


def test_train_prints_one_json_object(finished: list[object], tmp_path: Path) -> None:
    result = attuner("train", "task={name: translation, source: en, target: fr}", "model=m",
                     "data=a.po", "--json")  # fmt: skip
    assert json.loads(result.stdout) == {
        "run": str(tmp_path / "runs/x"),
        "model": str(tmp_path / "runs/x/model"),
        "before": {"bleu": 1.0},
        "after": {"bleu": 2.0},
        "seconds": 3.5,
        "counts": {"read": {"a.po": 4}},
    }
    assert result.stdout.count("\n") == 1


def test_what_libraries_print_is_no_part_of_the_json(
    finished: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["attuner.training.run"]
    train = module.train

    def noisy(recipe: object, *, listeners: object) -> object:
        print("* Run finished.")
        return train(recipe, listeners=listeners)

    monkeypatch.setattr(module, "train", noisy)
    flags = ("--source", "en", "--target", "fr", "--model", "m", "--data", "a.po")
    result = attuner("train", *flags, "--json")

    assert json.loads(result.stdout)["seconds"] == 3.5
    assert result.stderr == "* Run finished.\n"
    assert attuner("train", *flags).stdout == "* Run finished.\n"


def test_the_json_is_on_standard_output_where_a_terminal_showed_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(stderr=True, force_terminal=True, _environ={"TERM": "xterm"})
    monkeypatch.setattr("attuner.console.build_console", lambda as_json: console)
    with open_display(as_json=True) as display:
        display(Progressed("Scoring", 1, 2))
        print("* A library.")
    print_json({"bleu": 1.0})
    captured = capsys.readouterr()

    assert captured.out == '{"bleu": 1.0}\n'
    assert "* A library." in captured.err


def test_a_run_folder_is_resumed_by_its_own_recipe(finished: list[object]) -> None:
    assert attuner("train", "--resume", "runs/x").exit_code == 0
    assert attuner("train", "runs/x", "--resume", "--inexact").exit_code == 0
    assert finished == [(Path("runs/x"), None, False), (Path("runs/x"), None, True)]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: {name: translation, source: en, target: fr}\nmodel: m\ndata: a.po\n"
        "output: {name: mine}\n",
        encoding="utf-8",
    )
    return path


def test_options_change_the_recipe_that_is_gone_on_with(
    finished: list[Any], recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs/x"
    run.mkdir(parents=True)
    recipe_file.rename(run / "recipe.yaml")
    assert attuner("train", "--resume", "runs/x", "training.epochs=5").exit_code == 0
    folder, recipe, inexact = finished[0]
    assert (folder, inexact) == (Path("runs/x"), False)
    assert (recipe.training.epochs, recipe.data.train[0].path) == (5.0, "a.po")


def test_a_recipe_names_the_run_to_resume(finished: list[Any], recipe_file: Path) -> None:
    assert attuner("train", "recipe.yaml", "--resume", "training.epochs=5").exit_code == 0
    assert attuner("train", "--resume", "recipe.yaml", "runs/x").exit_code == 0
    ((begun, _), (folder, recipe, _)) = finished
    assert (begun.output.name, begun.training.epochs) == ("mine", 5.0)
    assert (folder, recipe.training.epochs) == (Path("runs/x"), 3.0)


def test_without_a_name_the_latest_unfinished_run_is_resumed(
    finished: list[Any], tmp_path: Path
) -> None:
    for age, name in enumerate(("over", "new", "old")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        recipe = tmp_path / "runs" / name / "recipe.yaml"
        recipe.touch()
        os.utime(recipe, (1e9 - age, 1e9 - age))
    (tmp_path / "runs/over/model").mkdir()
    assert attuner("train", "--resume").exit_code == 0
    assert finished == [(Path("runs/new"), None, False)]
    for name in ("new", "old"):
        (tmp_path / "runs" / name / "model").mkdir()
    result = attuner("train", "--resume")
    assert (result.exit_code, result.stderr) == (
        1,
        "No run in runs is unfinished. 3 are over.\n"
        "--resume alone goes on with the latest run that was interrupted.\n"
        "Name a run: attuner train --resume runs/NAME\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--resume", "runs/x", "runs/y"),
            "--resume was given runs/x, runs/y.\n"
            "Expected one run folder, one recipe file, or one of each.\n"
            "Type: attuner train --resume runs/NAME\n",
        ),
        (
            ("--resume", "runs/x", "--name", "y"),
            "--name was given with a run folder.\n"
            "A run that is resumed stays in its folder.\n"
            "Type: attuner train --resume runs/x\n",
        ),
        (
            ("recipe.yaml", "--inexact"),
            "--inexact was given without --resume.\nIt allows a run to go on with other options.\n",
        ),
    ],
)
def test_what_resume_does_not_take(
    finished: list[Any], arguments: tuple[str, ...], message: str
) -> None:
    result = attuner("train", *arguments)
    assert (result.exit_code, result.stderr, finished) == (2, message, [])


def test_demo_takes_the_next_free_name(finished: list[object], tmp_path: Path) -> None:
    for _ in range(3):
        assert attuner("demo").exit_code == 0
        (tmp_path / "runs" / finished[-1].output.name).mkdir(parents=True)  # type: ignore[attr-defined]
    assert [recipe.output.name for recipe in finished] == ["demo", "demo-2", "demo-3"]  # type: ignore[attr-defined]


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A model of the folder `tmp_path` that says one word; gives the options of its loading."""
    from attuner.models import loading

    class Parrot(Echo):
        name = "parrot 1.0"
        codec = SimpleNamespace(pair=Pair())

        def between(self, source: str | None, target: str | None) -> Parrot:
            return self

        def said(self, line: str) -> str:
            return "Fichier"

    asked: dict[str, Any] = {}

    def load(model: object, **options: Any) -> translator.Translator:
        asked.update(options)
        return translator.Translator(Parrot())

    monkeypatch.setattr(translator, "load", load)
    monkeypatch.setattr(loading, "resolve_model", lambda model, **options: tmp_path)
    monkeypatch.chdir(tmp_path)
    return asked


def test_evaluate_says_what_its_scores_rest_on(parrot: dict[str, Any]) -> None:
    Path("a.csv").write_text("english,fr\nFile,Fichier\nFile,Fichier\nOpen,\nx,y,z\n")
    arguments = [
        "evaluate", "m", "a.csv", "--source", "en", "--target", "fr", "--source-column", "english",
        "--skip-bad-entries", "--engine", "ctranslate2", "--quantization", "int8",
        "--num-beams", "2",
    ]  # fmt: skip
    made = json.loads(attuner(*arguments, "--json").stdout)
    languages = {"source": "en", "target": "fr"}
    assert parrot == {**languages, "engine": "ctranslate2", "quantization": "int8"}
    assert made.pop("seconds") > 0
    signatures = made.pop("signatures")
    assert made == {
        "scores": {"bleu": 0.0, "chrf": 100.0},
        "counts": {
            "read": {"a.csv": 3},
            "skipped": {"wrong number of columns": 1, "untranslated": 1},
            "scored": {"entries": 2},
        },
        "engine": "parrot 1.0",
        "num_beams": 2,
        "max_new_tokens": 128,
    }
    assert attuner(*arguments).stdout == (
        "Read              3  a.csv 3\n"
        "Skipped           2  untranslated 1, wrong number of columns 1\n"
        "Scored            2  entries 2\n"
        "Generated by parrot 1.0, 2 beams, at most 128 tokens a line, in 0 s\n"
        f"BLEU    0.00  {signatures['bleu']}\n"
        f"chrF  100.00  {signatures['chrf']}\n"
    )


@pytest.mark.parametrize(
    ("content", "flags", "remedy"),
    [
        (
            b"english,french\nFile,Fichier\n",
            [],
            "Name them: --source-column COLUMN --target-column COLUMN",
        ),
        (
            b"en,fr\nFile,caf\xe9\n",
            [],
            "The file is read as utf-8. Set its encoding, as in --encoding cp1252, or set "
            "--skip-bad-entries (skipped entries are counted).",
        ),
    ],
)
def test_evaluate_advises_its_own_flags(
    parrot: dict[str, Any], content: bytes, flags: list[str], remedy: str
) -> None:
    Path("a.csv").write_bytes(content)
    result = attuner("evaluate", "m", "a.csv", "--source", "en", "--target", "fr", *flags)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, remedy)


def test_every_remedy_of_evaluate_is_a_flag() -> None:
    from attuner.data.asked import recipe_options

    assert set(EVALUATE_FLAGS) == set(recipe_options())
    said = attuner("evaluate", "--help").stdout
    for typed in EVALUATE_FLAGS.values():
        assert f"  {typed.split()[0]} " in said


def test_evaluate_without_known_languages(parrot: dict[str, Any]) -> None:
    result = attuner("evaluate", "m", "a.csv")
    assert (result.exit_code, result.stderr) == (
        2,
        "m does not say which languages it translates.\n"
        "The data need the languages that are to be scored.\n"
        "Give them: --source en --target fr\n",
    )


def test_translate_a_text(shouting: list[list[str]]) -> None:
    assert attuner("translate", "model", "Open it").stdout == "OPEN IT É\n"
    result = attuner("translate", "model", "Open it", "--json")
    assert json.loads(result.stdout) == {"source": "Open it", "target": "OPEN IT É"}


def test_translate_into_a_language(parrot: dict[str, Any]) -> None:
    arguments = ["translate", "model", "Open it", "--source", "en", "--target", "pt-BR"]
    assert attuner(*arguments).stdout == "Fichier\n"
    assert parrot == {"source": "en", "target": "pt-BR"}


@pytest.mark.parametrize(
    ("kind", "listed"), [("mbart", "ar_AR\ncs_CZ\n"), ("madlad", "en\nfr\npt\nsr_Latn\n")]
)
def test_translate_lists_languages(kind: str, listed: str, tmp_path: Path) -> None:
    write_checkpoint(kind, tmp_path)
    shown = attuner("translate", str(tmp_path), "--list-languages").stdout
    assert shown.startswith(listed)
    as_json = attuner("translate", str(tmp_path), "--list-languages", "--json").stdout
    assert json.loads(as_json) == {"languages": shown.split()}


def test_translate_lists_no_languages_where_there_are_none(marian: Path) -> None:
    result = attuner("translate", str(marian), "--list-languages")
    assert result.stdout == ""
    assert result.stderr == f"{marian} tells no languages apart: it need not be told any.\n"


@pytest.mark.parametrize("length", [255, 256, 1000, 5000])
def test_a_text_may_be_longer_than_a_file_name(shouting: list[list[str]], length: int) -> None:
    assert attuner("translate", "model", "a" * length).stdout == "A" * length + " É\n"


@pytest.mark.parametrize("text", ["v1.2", "Open a.csv", "nul\0", "See recipe.yaml"])
def test_a_text_that_is_no_file(shouting: list[list[str]], text: str) -> None:
    assert attuner("translate", "model", text).stdout == f"{text.upper()} É\n"


def test_long_names_are_names(finished: list[object], tmp_path: Path) -> None:
    long = "x" * 300
    assert attuner("translate", long, "text").stderr.startswith(f"{long}: no such folder.\n")
    assert attuner("train", long).stderr.startswith(f"{long}: no such file.\n")
    assert attuner("train", f"output.name={long}").stderr.startswith("The recipe has 3 faults:\n")
    assert attuner("card", long).stderr.startswith(f"{long} is not a folder here: ")
    (tmp_path / "runs").mkdir()
    assert attuner("runs", "show", long).stderr.startswith(f"There is no run {long}: ")
    assert attuner("demo", f"output.name={long}").exit_code == 0


def test_translate_a_file(shouting: list[list[str]], tmp_path: Path) -> None:
    file, output = tmp_path / "notes.txt", tmp_path / "out.txt"
    file.write_bytes("\ufeffone\r\n\ntwo\n".encode())
    assert attuner("translate", "model", str(file)).stdout == "ONE É\n É\nTWO É\n"
    result = attuner("translate", "model", str(file), "--output", str(output))
    assert (result.exit_code, result.stdout) == (0, "")
    assert output.read_text(encoding="utf-8") == "ONE É\n É\nTWO É\n"


def test_a_failure_leaves_the_old_output(shouting: list[list[str]], tmp_path: Path) -> None:
    file, output = tmp_path / "notes.txt", tmp_path / "out.txt"
    output.write_text("precious")
    file.write_bytes(b"one\n" * 2000 + b"\xff\n")
    result = attuner("translate", "model", str(file), "--output", str(output))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}:2001: byte 0xff is not UTF-8.")
    assert output.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "out.txt"}


def test_output_that_is_no_plain_file(
    shouting: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for output in ("folder", ".", ""):
        result = attuner("translate", "model", "one", "-o", output)
        assert result.exit_code == 2
        assert result.stderr == (
            f"{output or '.'}: Is a directory.\n--output names a file that can be written.\n"
        )
    assert shouting == []

    (tmp_path / "link.txt").symlink_to("folder/out.txt")
    assert attuner("translate", "model", "one", "-o", "link.txt").exit_code == 0
    assert (tmp_path / "folder/out.txt").read_text(encoding="utf-8") == "ONE É\n"
    assert (tmp_path / "link.txt").is_symlink()

    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert attuner("translate", "model", "one", "-o", "pipe").exit_code == 0
    assert os.read(reader, 100).decode() == "ONE É\n"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "link.txt", "pipe"}


def test_translate_standard_input(shouting: list[list[str]]) -> None:
    assert attuner("translate", "model", "-", input="one\ntwo\n").stdout == "ONE É\nTWO É\n"
    assert [text for batch in shouting for text in batch] == ["one", "two"]


def test_output_goes_on_in_ascii() -> None:
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from attuner.inference import translator\n"
        "said = SimpleNamespace(translate=lambda texts: ['é→'], whole_texts=False)\n"
        "translator.load = lambda model, **_: said\n"
        "from attuner.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for flags, said in ((), b"\\xe9\\u2192\n"), (("--json",), b'"\\u00e9\\u2192"}\n'):
        done = subprocess.run(
            [sys.executable, "-c", code, "translate", "m", "x", *flags],
            capture_output=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "strings.po",
            "strings.po is a catalog, and catalogs cannot be written back yet.\n"
            "Files to translate are plain text, one text a line, named .txt.\n"
            'Pass a text instead: attuner translate MODEL "Open the file"\n',
        ),
        (
            "table.csv",
            'table.csv has the suffix ".csv".\n'
            "Files to translate are plain text, one text a line, named .txt.\n"
            "To read it as plain text anyway: attuner translate MODEL - < table.csv\n",
        ),
        (
            "absent.txt",
            "absent.txt: no such file.\n"
            "What has no white space and ends like a file is taken for one.\n"
            "If it is the text itself, pass it on standard input: "
            "echo absent.txt | attuner translate MODEL -\n",
        ),
        (
            "absent'.csv",
            "absent'.csv: no such file.\n"
            "What has no white space and ends like a file is taken for one.\n"
            "If it is the text itself, pass it on standard input: "
            """echo 'absent'"'"'.csv' | attuner translate MODEL -\n""",
        ),
    ],
)
def test_files_that_cannot_be_translated(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strings.po").touch()
    (tmp_path / "table.csv").touch()
    result = attuner("translate", "model", name)
    assert (result.exit_code, result.stderr) == (2, said)


def test_output_may_not_be_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shouting: list[list[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text\n")
    result = attuner("translate", "model", "a.txt", "-o", "a.txt")
    assert result.exit_code == 2
    assert result.stderr == (
        "--output a.txt is the file that is read.\nThe result goes into another file.\n"
    )
    assert (tmp_path / "a.txt").read_text() == "text\n"


def test_input_that_is_not_utf8(shouting: list[list[str]], tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("ok\nd\xe9j\xe0\n".encode("latin-1"))
    result = attuner("translate", "model", str(file))
    assert result.exit_code == 1
    assert result.stderr == (
        f"{file}:2: byte 0xe9 is not UTF-8.\n"
        "Text must be UTF-8.\n"
        f"Convert it first, such as: iconv -f latin1 -t utf-8 {file}\n"
    )


def test_a_text_that_is_not_utf8(shouting: list[list[str]]) -> None:
    result = attuner("translate", "model", os.fsdecode(b"d\xe9j\xe0 vu"))
    said = "The text is not UTF-8: d\\udce9j\\udce0 vu\nText must be UTF-8.\n"
    assert (result.exit_code, result.stderr) == (2, said)
    assert shouting == []


def test_a_model_that_takes_whole_texts_gets_the_whole_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = SimpleNamespace(translate=lambda texts: [repr(t) for t in texts], whole_texts=True)
    monkeypatch.setattr(translator, "load", lambda model, **_: loaded)
    article = tmp_path / "article.txt"
    article.write_text("One.\n\nTwo.\n")
    assert attuner("translate", "m", str(article)).stdout == "'One.\\n\\nTwo.'\n"
    assert attuner("translate", "m", "-", input="One.\nTwo.").stdout == "'One.\\nTwo.'\n"


def test_train_text_to_text_with_flags(finished: list[object]) -> None:
    result = attuner(
        "train", "--task", "text-to-text", "--model", "m", "--data", "x.jsonl",
        "--source-column", "{a} {b}", "--target-column", "c", "--json",
    )  # fmt: skip
    assert result.exit_code == 0
    (recipe,) = finished
    assert recipe.task.name == "text-to-text"  # type: ignore[attr-defined]
    columns = {"source": "{a} {b}", "target": "c"}
    assert recipe.data.train[0].columns == columns  # type: ignore[attr-defined]
