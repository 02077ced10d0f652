"""What has left the libraries: AdamW, load_metric, evaluate, load_dataset, Repository."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import torch

from attuner import compat
from attuner.compat import AdamW, Repository, evaluate, get_full_repo_name, load_dataset
from attuner.errors import DataError, UsageError

PAIRS = [("Open the file", "Ouvrir le fichier"), ("Close %1", "Fermer %1"), ("OK", "OK")]


def test_every_name_is_there() -> None:
    assert {name for name in compat.__all__ if not hasattr(compat, name)} == set()
    assert set(compat.__all__) <= set(dir(compat))


def test_adamw_has_the_defaults_of_old() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([weight])
    group = optimizer.param_groups[0]
    assert (group["lr"], group["eps"], group["weight_decay"]) == (1e-3, 1e-6, 0.0)
    weight.sum().backward()
    optimizer.step()
    # The first step of Adam is the learning rate, in the gradient's direction.
    assert weight.detach() == pytest.approx(torch.full((3,), 1 - 1e-3), abs=1e-6)
    with pytest.raises(UsageError) as found:
        AdamW([weight], correct_bias=False)
    assert str(found.value) == (
        "AdamW was asked for correct_bias=False.\n"
        "torch's AdamW always corrects the bias of its moments.\nLeave correct_bias out."
    )


def test_metrics_need_no_network() -> None:
    given = {"predictions": [1, 0], "references": [1, 1]}
    assert evaluate.load("glue", "mrpc").compute(**given)["accuracy"] == 0.5
    assert compat.load_metric("accuracy").compute(**given) == {"accuracy": 0.5}


def as_rows(folder: Path) -> str:
    rows = [{"id": str(i), "translation": {"en": s, "fr": t}} for i, (s, t) in enumerate(PAIRS)]
    (folder / "strings.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return str(folder)


def as_opus_zip(folder: Path) -> str:
    path = folder / "en-fr.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, language in enumerate(("en", "fr")):
            text = "".join(f"{pair[number]}\n" for pair in PAIRS)
            archive.writestr(f"KDE4.en-fr.{language}", text)
    return str(path)


@pytest.mark.parametrize("write", [as_rows, as_opus_zip])
def test_translations_of_a_folder(write: Any, tmp_path: Path) -> None:
    found = load_dataset(write(tmp_path), lang1="en", lang2="fr")
    assert list(found) == ["train"]
    assert found["train"][1] == {"id": "1", "translation": {"en": "Close %1", "fr": "Fermer %1"}}
    assert found["train"].features["translation"] == datasets.Translation(["en", "fr"])
    swapped = load_dataset("kde4", lang1="fr", lang2="en", data_dir=write(tmp_path), split="train")
    assert swapped[2]["translation"] == {"fr": "OK", "en": "OK"}
    assert len(swapped) == 3


def test_entries_without_a_translation_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "menu.csv").write_text("en,fr\nOpen,Ouvrir\nClose,\nSave,\n")
    found = load_dataset(str(tmp_path / "menu.csv"), lang1="en", lang2="fr")
    assert found["train"]["translation"][:] == [{"en": "Open", "fr": "Ouvrir"}]
    assert caplog.messages == [
        f"{tmp_path / 'menu.csv'}: 2 of 3 entries are left out: not translated, or to be reviewed."
    ]


def test_kde4_of_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kde4").mkdir()
    as_rows(tmp_path / "kde4")
    monkeypatch.chdir(tmp_path)
    found = load_dataset("kde4", lang1="en", lang2="fr", trust_remote_code=True)
    assert len(found["train"]) == 3
    assert caplog.messages == ["trust_remote_code: no effect, data sets have no code any more."]


def test_other_data_sets_are_those_of_today(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 1}\n')
    found = load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert found["train"][0] == {"text": "a", "label": 1}


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as found:
        load_dataset(as_rows(tmp_path), lang1="en", lang2="fr", split="test")
    assert str(found.value) == (
        f'load_dataset("{tmp_path}") was asked for the split test.\n'
        "Translations in files are one split, train.\n"
        "Take split='train', and call train_test_split on it."
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What would have been sent to the Hub."""
    calls: list[tuple[str, Any]] = []

    class Done:
        commit_url = "https://hub/me/model/commit/1"

        def result(self) -> Done:
            return self

    def note(name: str, answer: Any = None) -> Any:
        def call(self: Any, *args: Any, **given: Any) -> Any:
            calls.append((name, args or given.get("repo_id")))
            return answer

        return call

    def fetch(repo_id: str, *, local_dir: str, **_: Any) -> None:
        if repo_id == "me/new":
            import httpx

            answer = httpx.Response(404, request=httpx.Request("GET", "https://hub/me/new"))
            raise huggingface_hub.errors.RepositoryNotFoundError("none", response=answer)
        (Path(local_dir) / "config.json").write_text("{}")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", note("create"))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", note("upload", Done()))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub.HfApi, "whoami", lambda *_, **__: {"name": "me"})
    return calls


def test_repository(tmp_path: Path, hub: list[tuple[str, Any]]) -> None:
    repo = Repository(tmp_path / "model", clone_from=get_full_repo_name("model"))
    assert (tmp_path / "model" / "config.json").is_file()
    assert repo.push_to_hub("First") == "https://hub/me/model/commit/1"
    assert repo.push_to_hub("Second", blocking=False).result().commit_url.endswith("/1")
    repo.git_add()
    repo.git_commit("Third")
    repo.git_push()
    assert [name for name, _ in hub] == ["create", "upload"] * 3
    assert {str(given) for name, given in hub if name == "upload"} == {"me/model"}


def test_a_repository_that_is_new(tmp_path: Path, hub: list[tuple[str, Any]]) -> None:
    repo = Repository(tmp_path / "new", clone_from="https://hub/me/new")
    assert list((tmp_path / "new").iterdir()) == []
    repo.push_to_hub()
    assert [name for name, _ in hub] == ["create", "upload"]


def test_a_repository_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as found:
        Repository(tmp_path).push_to_hub()
    assert str(found.value) == (
        f"Repository({tmp_path}) was not told which repository it is of.\n"
        "Expected clone_from, an id such as user/model.\n"
        "Pass clone_from=get_full_repo_name(NAME)."
    )
