"""Every command, Python block and recipe in the README and the docs works as it is written.

A new page is found by itself. The steps of a page are run in their order, in a folder that holds
the files that the pages speak of, and with a stand-in for the Hub to push to. Pages that train are
slow.

What is not run so, and why:

- the demos: they take minutes, and tests of their own run them
- models and data sets of the Hub: marked `network`
- commands that stand indented, not fenced, as they need hours, or a run that was begun elsewhere:
  tests/test_benchmarks.py and tests/test_examples.py run the scripts with a few updates; here
  their options are looked for
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub.server import Hub

from attuner.recipe_loading import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
_INDENTED = re.compile(r"^ {4,}((?:attuner|python|torchrun|pip|make) .*)", re.M)
_PAIRS = [
    ("Open the {}", "Ouvrir {}"), ("Close the {}", "Fermer {}"), ("Save the {}", "Enregistrer {}"),
    ("Delete the {}?", "Supprimer {} ?"),
]  # fmt: skip
_THINGS = {
    "file": "le fichier", "window": "la fenêtre", "kernel": "le noyau", "notebook": "le carnet",
    "plugin": "l'extension", "folder": "le dossier", "tab": "l'onglet", "menu": "le menu",
    "image": "l'image", "table": "le tableau",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    kind: str
    text: str

    @property
    def is_network(self) -> bool:
        return self.kind == "attuner" and ("hub:" in self.text or "Helsinki-NLP/" in self.text)

    @property
    def is_slow(self) -> bool:
        if self.kind == "torchrun":
            return True
        trains = re.match(r"attuner (train|demo|check .*\.yaml)\b", self.text) is not None
        return self.kind == "python" or trains


def steps(page: Path) -> Iterator[Step]:
    for language, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in ("bash", "console"):
            for line in body.splitlines():
                command = line.removeprefix("$ ")
                if language == "bash" or line.startswith("$ "):
                    yield Step(command.split()[0], command)
        else:
            yield Step(language, body)


def marked(pages: list[Path]) -> list[object]:
    return [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=[pytest.mark.slow] if any(step.is_slow for step in steps(page)) else [],
        )
        for page in pages
    ]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """What the pages' commands take for the Hub."""
    with Hub() as running:
        for name, value in running.environment(tmp_path / ".hub").items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the docs speak of."""
    pairs = [(s.format(t), r.format(u)) for t, u in _THINGS.items() for s, r in _PAIRS]
    header = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: fr\\n"\n'
    )
    entries = [f'\nmsgid "{source}"\nmsgstr "{target}"\n' for source, target in pairs]
    (tmp_path / "strings.po").write_text(header + "".join(entries), encoding="utf-8")
    (tmp_path / "held-out.po").write_text(header + "".join(entries[-8:]), encoding="utf-8")
    rows = "".join(f"{source},{target}\n" for source, target in pairs)
    (tmp_path / "pairs.csv").write_text(f"english,french\n{rows}", encoding="utf-8")
    for number, name in enumerate(("lines.en.txt", "lines.fr.txt")):
        text = "".join(f"{pair[number]}\n" for pair in pairs)
        (tmp_path / name).write_text(text, encoding="utf-8")
    questions = "".join(f"What does {t} mean?,The word is {u}.,{u}\n" for t, u in _THINGS.items())
    (tmp_path / "questions.csv").write_text(f"question,context,answer\n{questions}", "utf-8")
    rows = ("OK,OK,OK", *(f"Open {t},Ouvrir {u},{t} öffnen" for t, u in _THINGS.items()))
    (tmp_path / "three.csv").write_text("en,fr,de\n" + "\n".join(rows) + "\n", "utf-8")
    (tmp_path / "notes.txt").write_text("Open the file\n\nClose the window\n", encoding="utf-8")
    units = "".join(
        f'<trans-unit id="{number}"><source>{source}</source><target>{target}</target></trans-unit>'
        for number, (source, target) in enumerate(pairs[:6])
    )
    (tmp_path / "mail.xlf").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">'
        '<file original="mail" source-language="en" target-language="fr" datatype="plaintext">'
        f"<body>{units}</body></file></xliff>\n",
        encoding="utf-8",
    )
    moods = [f"a {mood} {thing},{mood}\n" for thing in _THINGS for mood in ("good", "bad")]
    (tmp_path / "reviews.csv").write_text(f"review,mood\n{''.join(moods)}", "utf-8")
    (tmp_path / "my_metrics.py").write_text(
        "def kappa(predictions, labels):\n    return {'kappa': 1.0}\n\n\n"
        "def equal(texts, references):\n"
        "    return {'equal': float(sum(map(list.__contains__, references, texts)))}\n",
        encoding="utf-8",
    )
    (tmp_path / "questions.yaml").write_text(
        "task: {name: text-to-text, prefix: 'answer: ', metrics: [exact_match, token_f1]}\n"
        "model: embedded:en-fr\n"
        "data:\n"
        "  train:\n"
        "    path: questions.csv\n"
        "    columns: {source: 'question: {question} context: {context}', target: answer}\n"
        "  split: {validation: 2, test: 2}\n"
        "training: {epochs: 1}\n"
        "output: {name: answers}\n",
        encoding="utf-8",
    )
    (tmp_path / "recipe.yaml").write_text(
        "task: {name: translation, source: en, target: fr}\n"
        "model: embedded:en-fr\n"
        "data: strings.po\n"
        "training: {epochs: 1}\n",
        encoding="utf-8",
    )
    return tmp_path


def run(words: list[str], folder: Path) -> None:
    environment = {**os.environ, "ATTUNER_CACHE": str(folder / ".cache")}
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def run_step(step: Step, folder: Path) -> None:
    if step.kind == "attuner":
        run([sys.executable, "-m", "attuner", *shlex.split(step.text, comments=True)[1:]], folder)
    elif step.kind == "torchrun":
        run([sys.executable, "-m", "torch.distributed.run", *shlex.split(step.text)[1:]], folder)
    elif step.kind == "python":
        named = re.match(r"# (\w+\.py)\n", step.text)  # under which commands below start it
        script = folder / (named[1] if named else "block.py")
        script.write_text(step.text, encoding="utf-8")
        run([sys.executable, script.name], folder)
    elif step.kind == "yaml":
        (folder / "block.yaml").write_text(step.text, encoding="utf-8")
        load_recipe(folder / "block.yaml")
    elif step.kind == "accelerate":  # which would want GPUs
        from accelerate.commands.config.config_args import load_config_from_file
        from accelerate.commands.launch import launch_command_parser

        asked = launch_command_parser().parse_args(shlex.split(step.text)[2:])
        load_config_from_file(str(folder / asked.config_file))
        assert (asked.module, asked.training_script) == (True, "attuner")
        recipe, *overrides = asked.training_script_args[1:]
        load_recipe(folder / recipe, overrides)
    elif step.kind == "make":
        run(["make", "-n", "-C", str(ROOT), *step.text.split()[1:]], folder)
    else:
        assert step.text.startswith("pip install "), f"a test must know how to run: {step.text}"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        named = re.findall(r'\.\[([\w,]+)\]"', step.text)
        assert named
        assert set(",".join(named).split(",")) <= set(extras["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", marked([page for page in PAGES if list(steps(page))]))
@pytest.mark.usefixtures("hub")
def test_page(page: Path, workplace: Path, request: pytest.FixtureRequest) -> None:
    for step in steps(page):
        if step.text == "attuner demo --task classification":
            continue  # takes minutes: a test of its own
        if step.text == "attuner demo":  # takes minutes, and another test needs it, too
            made = request.getfixturevalue("demo_run").folder / "runs"
            shutil.copytree(made, workplace / "runs", dirs_exist_ok=True)
        elif not step.is_network:
            run_step(step, workplace)


@pytest.mark.network
@pytest.mark.parametrize(
    ("page", "step"),
    [
        pytest.param(page, step, id=f"{page.relative_to(ROOT)}: {step.text}")
        for page in PAGES
        for step in steps(page)
        if step.is_network
    ],
)
def test_network_command(page: Path, step: Step, workplace: Path) -> None:
    for earlier in steps(page):
        if earlier.text.startswith("attuner recipes"):
            run_step(earlier, workplace)
    run_step(step, workplace)


def indented() -> Iterator[object]:
    """Commands that are shown and not run."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for command in _INDENTED.findall(text):
            yield pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")


@pytest.mark.parametrize("command", list(indented()))
def test_command_that_is_shown_only(command: str, tmp_path: Path) -> None:
    kind, *words = shlex.split(command, comments=True)
    if kind == "attuner":  # parses all options before it heeds the last one
        run([sys.executable, "-m", "attuner", *words, "--help"], tmp_path)
    elif kind == "pip":
        run_step(Step(kind, command), tmp_path)
    else:
        assert kind == "python", "only these may stand indented"
        script = ROOT / words[0]
        assert script.parent.name in ("benchmarks", "examples"), f"{script}: is it run by a test?"
        given = script.with_name(f"{words[1]}.py") if script.name == "build.py" else script
        shared = ROOT / "benchmarks" / "subject.py"
        texts = [path.read_text("utf-8") for path in (script, given, shared)]
        for option in re.findall(r"--[a-z-]+", command):
            assert any(f'"{option}"' in text for text in texts), option


def test_links_between_pages() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_there_are_steps() -> None:
    kinds = {step.kind for page in PAGES for step in steps(page)}
    assert kinds == {"accelerate", "attuner", "make", "pip", "python", "torchrun", "yaml"}
