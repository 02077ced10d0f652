"""Models and data from the Hub, by the stand-in: in processes that begin with its address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub.server import Hub
from pairs import PAIRS

from attuner.errors import HubError
from attuner.publishing.fetching import fetch_run
from attuner.recipe_loading import load_recipe
from attuner.training.folder import RunFolder

_MODEL = """
import json, sys
from attuner.errors import UserError
from attuner.models.loading import resolve_model
told = []
try:
    folder = resolve_model(
        sys.argv[1], revision=sys.argv[2] or None, progress=lambda *seen: told.append(seen)
    )
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    config = json.loads((folder / "config.json").read_text())
    print(json.dumps([files, config.get("which"), told[-1:]]))
except UserError as error:
    print(json.dumps(str(error)))
"""
_DATA = """
import json, sys
from attuner.data.reading import read_units
from attuner.errors import UserError
try:
    units = read_units(
        "hub:team/pairs", source_language="en", target_language="fr", revision=sys.argv[1] or None
    )
    print(json.dumps([unit.source for unit in units]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def said(code: str, *arguments: str, **environment: str) -> object:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def model(hub: Hub, marian: Path) -> dict[str, bytes]:
    """A private repository of two commits, the first with a tag, and much that is not wanted."""
    files = {path.name: path.read_bytes() for path in marian.iterdir()}
    old = {**json.loads(files["config.json"]), "which": "old"}
    more = {
        "pytorch_model.bin": b"pickle", "onnx/model.json": b"{}", "run/manifest.json": b"{}",
        "code.py": b"raise SystemExit",
    }  # fmt: skip
    repo = hub.add("team/model", {**files, "config.json": json.dumps(old).encode()}, private=True)
    repo.tags["v1"] = repo.commits[-1].oid
    new = json.dumps({**old, "which": "new"}).encode()
    hub.add("team/model", {**files, **more, "config.json": new})
    return files


def test_a_private_model_by_revision_then_offline(hub: Hub, model: dict[str, bytes]) -> None:
    size = sum(map(len, set(model.values())))  # the two SentencePiece files are one
    files, which, told = said(_MODEL, "team/model", "")  # type: ignore[misc]
    assert files == sorted(model)
    assert which == "new"
    done, total = told[0]
    assert done == total
    assert abs(total - size) < 200  # config.json is another one
    assert said(_MODEL, "team/model", "v1")[1] == "old"  # type: ignore[index]
    asked = len(hub.requests)
    assert said(_MODEL, "team/model", "v1", HF_HUB_OFFLINE="1")[1] == "old"  # type: ignore[index]
    assert len(hub.requests) == asked
    hub.stop()
    assert said(_MODEL, "team/model", "")[1] == "new"  # type: ignore[index]


def test_neither_network_nor_cache(hub: Hub) -> None:
    folder = "If you mean a folder: there is none of this name here."
    assert said(_MODEL, "team/model", "", HF_HUB_OFFLINE="1") == (
        "team/model is not in the cache, and HF_HUB_OFFLINE keeps Attuner off the network.\n"
        "Offline is used what was fetched before, at the same revision.\n"
        f"Unset HF_HUB_OFFLINE once, or give a folder.\n{folder}"
    )
    hub.stop()
    assert said(_MODEL, "team/model", "") == (
        "team/model is not in the cache, and the Hub cannot be reached.\n"
        "A repository of the Hub is fetched on first use, and kept in a cache.\n"
        "Check the network, or download it where there is one, and give its folder.\n"
        f"{folder}"
    )


@pytest.mark.usefixtures("model")
def test_who_may_not_read_it(hub: Hub) -> None:
    refused = (
        "The Hub has no repository team/model that you may read (RepositoryNotFoundError).\n"
        "Expected the id of a public one, or of a private one and a token that may read it.\n"
        "Check the id; log in with: hf auth login\n"
        "If you mean a folder: there is none of this name here."
    )
    assert said(_MODEL, "team/model", "", HF_TOKEN="") == refused
    assert said(_MODEL, "team/model", "v9") == (
        "The Hub's repository team/model has no revision v9.\n"
        "A revision is a branch, a tag or a commit.\n"
        "Choose one of those listed by: hf repos tag list team/model\n"
        "If you mean a folder: there is none of this name here."
    )


@pytest.mark.usefixtures("model")
def test_a_line_that_is_cut_amid_a_download(hub: Hub) -> None:
    hub.fault("GET /cdn/", status=500, message="Internal error")
    happened = "team/model: the Hub answered 500: Internal error"
    assert str(said(_MODEL, "team/model", "")).split("\n")[0] == happened
    hub.mend()
    assert said(_MODEL, "team/model", "")[1] == "new"  # type: ignore[index]


def test_private_data_by_revision_then_offline(hub: Hub) -> None:
    def rows(texts: list[str]) -> bytes:
        return "".join(json.dumps({"en": t, "fr": PAIRS[t]}) + "\n" for t in texts).encode()

    texts = list(PAIRS)
    repo = hub.add("team/pairs", {"train.jsonl": rows(texts[:2])}, kind="datasets", private=True)
    repo.tags["v1"] = repo.commits[-1].oid
    hub.add("team/pairs", {"train.jsonl": rows(texts)})

    assert said(_DATA, "", HF_HUB_OFFLINE="1") == (
        "hub:team/pairs: the Hugging Face Hub cannot be reached: Couldn't reach 'team/pairs' on "
        "the Hub (OfflineModeIsEnabled)\n"
        "A data set of the Hub is fetched on first use and kept in a cache.\n"
        "Check the network and HF_HUB_OFFLINE, or give a folder with the files instead."
    )
    assert said(_DATA, "") == texts
    assert said(_DATA, "v1") == texts[:2]
    # Without a network `datasets` takes what was fetched last, whatever revision is asked for.
    assert said(_DATA, "v1", HF_HUB_OFFLINE="1") == texts[:2]
    refused = str(said(_DATA, "", HF_TOKEN="", HF_HOME=str(Path.cwd() / "elsewhere")))
    assert refused.split("\n")[1:] == [
        "A data set on the Hub has an id such as Helsinki-NLP/kde4.",
        "Check its name; for a private one, log in with: hf auth login",
    ]


def test_one_process_fetches_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(HubError) as caught:
        fetch_run("hub:team/strings", tmp_path / "runs", lambda event: None)
    assert str(caught.value) == (
        "hub:team/strings was to be fetched by one of 2 processes.\n"
        "A run is fetched by one process, and can then be trained by several.\n"
        "First type: attuner train --resume hub:team/strings\n"
        f"The run is then in {tmp_path}/runs: go on with it there with --resume "
        f"{tmp_path}/runs/NAME."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_pushed_run_does_not_choose_where_it_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = RunFolder(tmp_path / "snapshot" / "run")
    (there.checkpoints / "step-000001").mkdir(parents=True)
    (there.checkpoints / "step-000001" / "state.json").touch()
    there.recipe.write_text(
        "task: {name: translation, source: en, target: fr}\nmodel: base\ndata: a.po\n"
        "output: {name: ../../elsewhere}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(
        "attuner.publishing.fetching.download", lambda *args, **options: there.path.parent
    )
    runs = tmp_path / "deep" / "runs"
    runs.mkdir(parents=True)
    assert fetch_run("hub:team/strings", runs, lambda event: None) == runs / "elsewhere"
    assert (runs / "elsewhere" / "recipe.yaml").is_file()


def test_code_that_a_pushed_run_names_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = RunFolder(tmp_path / "snapshot" / "run")
    hidden = RunFolder(there.path / "seed-42")
    for run in (there, hidden):
        (run.checkpoints / "step-000001").mkdir(parents=True)
        (run.checkpoints / "step-000001" / "state.json").touch()
        run.recipe.write_text(
            "task: {name: classification}\nmodel: base\ndata: a.csv\n"
            "training: {best_metric: kappa}\n"
            "evaluation: {functions: [evil.py:kappa, os:system]}\noutput: {name: own}\n",
            encoding="utf-8",
        )
    (there.path / "evil.py").write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.setattr(
        "attuner.publishing.fetching.download", lambda *args, **options: there.path.parent
    )
    folder = tmp_path / "runs" / "own"
    with pytest.raises(HubError) as caught:
        fetch_run("hub:team/own", tmp_path / "runs", lambda event: None)
    assert str(caught.value) == (
        f"hub:team/own is in {folder} now, and its recipe names code: "
        "evaluation.functions=evil.py:kappa, os:system.\n"
        "What a repository names is never run: it was left out of the recipe.\n"
        "Give the functions that you trust, from where you have them: "
        f"attuner train --resume {folder} 'evaluation.functions=[my_metrics.py:kappa]'"
    )
    assert "functions: []" in (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "evil" not in (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert not (folder / "seed-42").exists()
    mine = tmp_path / "mine.py"
    mine.write_text("", encoding="utf-8")
    given = load_recipe(folder / "recipe.yaml", [f"evaluation.functions={mine}:kappa"])
    assert given.evaluation.functions == [f"{mine}:kappa"]
