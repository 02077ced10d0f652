"""Pushing by hand, against the stand-in for the Hub: what is written, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hub.server import REFUSED, Hub, wait_until

import attuner
from attuner.cards.truth import require_true_card
from attuner.errors import HubError, ModelError, UserError
from attuner.publishing.outbox import Outbox
from attuner.publishing.pushing import push, push_rest
from attuner.recipe_loading import dump_recipe
from attuner.training.events import Event, Noted, Progressed
from attuner.training.folder import RunFolder
from attuner.training.run import Run

MODEL = ["config.json", "generation_config.json", "model.safetensors", "source.spm", "target.spm",
         "tokenizer_config.json", "vocab.json"]  # fmt: skip
LOG_IN = (
    "Log in with `hf auth login`, in a notebook with `from huggingface_hub import notebook_login; "
    "notebook_login()`, or set HF_TOKEN."
)
KEPT = "What is not pushed is kept, and no half of it is on the Hub."


def error_of(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        push(*arguments, **options)
    return str(caught.value)


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def test_a_run_is_pushed_as_one_private_commit(hub: Hub, run: RunFolder) -> None:
    (run.model / "optimizer.bin").touch()
    events: list[Event] = []
    done = push(run.path, listener=events.append)
    repo = hub.repos["alice/tuned"]

    assert done.hub_id == "alice/tuned"
    assert done.url == f"{hub.endpoint}/alice/tuned/commit/{repo.commits[-1].oid}"
    assert repo.private
    assert repo.messages == ["Training complete"]
    files = hub.files("alice/tuned")
    assert sorted(files) == [*MODEL[:3], "run/manifest.json", "run/metrics.jsonl",
                             "run/recipe.yaml", *MODEL[3:]]  # fmt: skip
    assert all(files[name] == (run.model / name).read_bytes() for name in MODEL)
    assert notes(events) == ["Not pushed, as they can run code: optimizer.bin."]
    assert any(isinstance(event, Progressed) for event in events)
    assert "hf_alice" not in "".join(p.read_text() for p in (run.path / "hub").glob("*.json"))


def test_what_was_pushed_before_is_ours(hub: Hub, run: RunFolder) -> None:
    push(run.path)
    (run.model / "model.safetensors").rename(run.model / "model-00001-of-00001.safetensors")
    push(run.path, message="Better", tag="v1")
    repo = hub.repos["alice/tuned"]

    assert repo.messages == ["Training complete", "Better"]
    assert repo.tags == {"v1": repo.commits[-1].oid}
    # The old weights would be taken for the model's by whoever loads it.
    assert "model.safetensors" not in hub.files("alice/tuned")
    assert "config.json" in hub.files("alice/tuned")
    assert push(run.path, tag="v1").notes == (
        "alice/tuned has a tag v1 already, which stays where it is.",
    )


@pytest.mark.parametrize(
    ("asked", "found"), [("other", "alice/other"), ("team/model", "team/model")]
)
def test_a_name_of_ones_own_or_of_an_organisation(
    hub: Hub, marian: Path, asked: str, found: str
) -> None:
    done = attuner.push(marian, asked, private=False, message="First")

    assert done.hub_id == found
    assert hub.repos[found].messages == ["First"]
    assert not hub.repos[found].private
    assert sorted(hub.files(found)) == MODEL


def test_a_pushed_card_names_the_repository(hub: Hub, tuned: Run, tmp_path: Path) -> None:
    """It is true there and here; what lies here still names the folder here."""
    card = (tuned.model_folder / "README.md").read_text(encoding="utf-8")
    assert push(tuned.folder, "team/tuned").notes == ()
    there = hub.clone("team/tuned", tmp_path / "there")
    pushed = (there / "README.md").read_text(encoding="utf-8")

    assert "model = attuner.load('team/tuned')" in pushed
    assert "`attuner card team/tuned --check`" in pushed
    assert "test/model" not in pushed
    assert require_true_card(there).address == "team/tuned"
    assert require_true_card(tuned.model_folder).address == "test/model"
    assert (tuned.model_folder / "README.md").read_text(encoding="utf-8") == card
    by_folder = push(tuned.model_folder, "model")
    assert b"attuner.load('alice/model')" in hub.files(by_folder.hub_id)["README.md"]


def test_a_card_with_words_of_somebody_is_pushed_as_it_is(
    hub: Hub, tuned: Run, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tuned.model_folder, model)
    card = (model / "README.md").read_text(encoding="utf-8")
    (model / "README.md").write_text(f"{card}\nOurs.\n", encoding="utf-8")
    assert push(model, "tuned").notes == (
        "README.md is pushed as it is: it has been written into since it was rendered.",
    )
    assert hub.files("alice/tuned")["README.md"].endswith(b"\nOurs.\n")
    (model / "card.json").write_text("{", encoding="utf-8")
    (note,) = push(model, "broken").notes
    assert note.startswith(f"README.md is pushed as it is: {model}/card.json")


def test_large_files_go_in_parts(hub: Hub, marian: Path) -> None:
    hub.multipart_bytes = 10_000
    push(marian, "parts")
    weights = hub.files("alice/parts")["model.safetensors"]
    assert weights == (marian / "model.safetensors").read_bytes()


def test_a_public_repository_is_named(hub: Hub, marian: Path) -> None:
    hub.add("alice/open", {"README.md": b"# Mine"})
    assert push(marian, "open").notes == (
        "alice/open was there before, and is public: all can read what is pushed.",
    )


def test_a_repository_with_other_files(hub: Hub, run: RunFolder) -> None:
    hub.add("alice/tuned", {f"{name}.txt": b"" for name in "abcd"})
    assert error_of(run.path) == (
        "The Hub's repository alice/tuned holds other files: a.txt, b.txt, c.txt and 1 more.\n"
        "A model is pushed into a repository of its own; nothing is overwritten.\n"
        f"Choose another one: attuner push {run.path} HUB_ID\n"
        f"Or overwrite it (its history stays): attuner push --resume {run.path} --force"
    )
    assert hub.repos["alice/tuned"].messages == ["Upload files"]
    push_rest(run.path, force=True)
    assert hub.repos["alice/tuned"].messages == ["Upload files", "Training complete"]


def test_of_another_model_nothing_is_left_but_the_history(hub: Hub, run: RunFolder) -> None:
    """Its tokenizer would be taken for ours, and its card would tell of scores of others."""
    others = {"README.md": b"# Another", "tokenizer.json": b"{}", "onnx/model.onnx": b"x"}
    hub.add("alice/tuned", {".gitattributes": b"*.onnx", "config.json": b"{}", **others})
    error_of(run.path)
    hub.fault("POST .*/commit/", status=500, message="Internal error")
    with pytest.raises(HubError):
        push_rest(run.path, force=True)
    hub.mend()
    push_rest(run.path)  # as it was to be pushed
    assert set(hub.files("alice/tuned")) == {
        *MODEL, "run/manifest.json", "run/metrics.jsonl", "run/recipe.yaml",
    }  # fmt: skip
    commits = hub.repos["alice/tuned"].commits
    assert ".gitattributes" in commits[-1].files
    assert set(commits[1].files) >= set(others)


def test_a_card_written_by_hand_for_this_repository_stays(hub: Hub, run: RunFolder) -> None:
    hub.add("alice/tuned", {"README.md": b"# Mine"})
    push(run.path)  # the model has no card of its own
    assert hub.files("alice/tuned")["README.md"] == b"# Mine"


@pytest.mark.parametrize(
    ("token", "hub_id", "message"),
    [
        (
            None, "tuned",
            "tuned: there is no token of the Hugging Face Hub here.\n"
            "Pushing needs a token with the right to write.\n"
            f"{LOG_IN}\nThen type: {{again}}",
        ),
        (
            "hf_unknown", "tuned",
            "tuned: the Hub does not accept the token: Invalid user token. The token from HF_TOKEN "
            "environment variable is invalid. Note that HF_TOKEN takes precedence over `hf auth "
            "login` (401).\n"
            "Pushing needs a valid token with the right to write.\n"
            f"{LOG_IN}\nThen type: {{again}}",
        ),
        (
            "hf_reader", "tuned",
            "tuned: the Hub does not allow it: You don't have the rights to create a model under "
            'the namespace "alice" (403).\n{rights}',
        ),
        (
            "hf_alice", "closed/tuned",
            "closed/tuned: the Hub does not allow it: You don't have the rights to create a model "
            'under the namespace "closed" (403).\n{rights}',
        ),
        (
            "hf_bob", "alice/tuned",
            "alice/tuned: the Hub does not allow it: You don't have the rights to create a model "
            'under the namespace "alice" (403).\n{rights}',
        ),
        (
            "hf_alice", "no name",
            "no name is no name for a repository: {validation}\n"
            "Expected letters, digits, `-`, `_` and `.`, such as user/name.\n"
            "Give another one.",
        ),
    ],
)  # fmt: skip
def test_who_may_not_push(
    hub: Hub,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    hub_id: str,
    message: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    again = f"attuner push --resume {run.path}"
    rights = (
        "Expected a token with the right to write there: of the role `write`, or a fine-grained "
        "one that names this user or organisation.\n"
        "Make one in the settings of your account and log in with it, `hf auth login --force`, or "
        f"choose a repository of your own.\nThen type: {again}"
    )
    said = error_of(run.path, hub_id)
    validation = said.split("\n")[0].removeprefix("no name is no name for a repository: ")
    assert said == message.format(again=again, rights=rights, validation=validation)
    assert not hub.repos


@pytest.mark.parametrize(
    ("pattern", "status", "text", "message"),
    [
        (
            "POST .*/preupload/", 403, "Private repository storage limit reached",
            "alice/tuned: the Hub has no room for it: Private repository storage limit reached "
            "(403).\n{room}",
        ),
        (
            "PUT /lfs/", 507, "Insufficient storage",
            "alice/tuned: the Hub has no room for it: Insufficient storage (507).\n{room}",
        ),
        (
            "POST .*/commit/", 413, "Payload too large",
            "alice/tuned: the Hub has no room for it: Payload too large (413).\n{room}",
        ),
        (
            "POST .*/commit/", 412, "A commit has happened since",
            "alice/tuned: someone else has pushed to it at the same time.\n"
            "A push goes on from the commit that it has seen.\nType: {again}",
        ),
        (
            "POST .*/commit/", 500, "Internal error",
            f"alice/tuned: the Hub answered 500: Internal error.\n{KEPT}\n"
            "Try again later: {again}",
        ),
    ],
)  # fmt: skip
def test_what_the_hub_refuses(
    hub: Hub, run: RunFolder, pattern: str, status: int, text: str, message: str
) -> None:
    hub.fault(pattern, status=status, message=text)
    again = f"attuner push --resume {run.path}"
    room = (
        "All commits count, old ones too; what resuming needs takes three times the model.\n"
        "Make room in the settings of your account, or push less: publish.checkpoints=false. "
        f"Then type: {again}"
    )
    assert error_of(run.path) == message.format(again=again, room=room)
    assert hub.repos["alice/tuned"].messages == []
    hub.mend()
    assert push_rest(run.path).url.endswith(hub.repos["alice/tuned"].commits[-1].oid)
    assert hub.repos["alice/tuned"].messages == ["Training complete"]


@pytest.mark.parametrize("way", ["refused", "hangs", "offline"])
def test_no_way_to_the_hub(
    hub: Hub, run: RunFolder, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    again = f"attuner push --resume {run.path}"
    reason = REFUSED
    if way == "refused":
        hub.stop()
    elif way == "hangs":
        monkeypatch.setenv("ATTUNER_HUB_TIMEOUT", "0.5")
        hub.fault("POST /api/repos/create", seconds=20)
        reason = "timed out"
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = error_of(run.path)
    if way == "offline":
        assert said == (
            "tuned was not pushed: HF_HUB_OFFLINE keeps Attuner off the network.\n"
            f"Pushing needs the network.\nUnset HF_HUB_OFFLINE, and type: {again}"
        )
    else:
        assert said == (
            f"tuned: the Hub cannot be reached: {reason}\n"
            "What is not pushed is kept, and no half of it is on the Hub.\n"
            f"When the network is back, type: {again}"
        )


def test_a_line_that_is_cut_amid_an_upload(hub: Hub, run: RunFolder) -> None:
    fault = hub.fault("PUT /lfs/", cut_after=10_000, times=1)
    push(run.path)

    assert fault.times == 0
    weights = hub.files("alice/tuned")["model.safetensors"]
    assert weights == (run.model / "model.safetensors").read_bytes()


def test_a_push_that_is_killed_amid_an_upload(hub: Hub, run: RunFolder) -> None:
    hub.fault("PUT /lfs/", seconds=60)
    outbox = Outbox(run.path / "hub")
    failed: list[str] = []
    pushing = threading.Thread(target=lambda: failed.append(error_of(run.path)))
    pushing.start()
    wait_until(lambda: any(line.startswith("PUT /lfs/") for line in hub.requests))
    with pytest.raises(HubError) as caught:
        push_rest(run.path, force=True)
    process = int((outbox.path / ".lock").read_text())
    assert str(caught.value) == (
        f"{run.path} is being pushed by process {process}.\n"
        "One push is made at a time.\n"
        "Wait for its end."
    )
    os.kill(process, signal.SIGKILL)
    pushing.join(60)

    happened, *rest = failed[0].split("\n")
    assert happened.startswith(
        "The process that pushes ended by itself (exit code -9). It said last: "
    )
    assert rest == [KEPT, f"All that it said is in {outbox.log}."]
    assert hub.repos["alice/tuned"].messages == []
    hub.mend()
    push_rest(run.path)
    assert hub.repos["alice/tuned"].messages == ["Training complete"]
    events: list[Event] = []
    assert push_rest(run.path, listener=events.append).hub_id == "alice/tuned"
    assert notes(events) == ["Nothing is left to push."]


def test_the_answer_to_a_commit_is_lost(hub: Hub, run: RunFolder) -> None:
    """The commit is there, but nobody knows: the repository is ours all the same."""
    outbox = Outbox(run.path / "hub")
    outbox.note(hub_id="alice/tuned")
    hub.add("alice/tuned", {"model.safetensors": b"ours"})
    push(run.path)
    assert hub.repos["alice/tuned"].messages == ["Upload files", "Training complete"]


def test_there_is_nothing_to_push(run: RunFolder, marian: Path, tmp_path: Path) -> None:
    assert error_of(tmp_path / "nowhere") == (
        f"{tmp_path}/nowhere: no such folder.\n"
        "Pushed is a run folder, such as runs/NAME, or a model folder."
    )
    shutil.rmtree(run.model)
    assert error_of(run.path) == (
        f"{run.path} has neither a model nor a checkpoint.\n"
        "Pushed is the model, or the state of the run so far.\n"
        f"Go on with the run: attuner train --resume {run.path}"
    )
    with pytest.raises(HubError) as caught:
        push_rest(run.path)
    assert str(caught.value) == (
        f"{run.path} has nothing that waits to be pushed.\n"
        "What a run could not push is in its folder `hub`.\n"
        f"To push it as it is: attuner push {run.path}"
    )
    pickles = tmp_path / "pickles"
    shutil.copytree(marian, pickles)
    (pickles / "model.safetensors").rename(pickles / "pytorch_model.bin")
    with pytest.raises(ModelError, match="which is a pickle and can run code"):
        push(pickles)


def test_an_export_is_not_pushed(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"format": "ctranslate2"}', encoding="utf-8")
    for name in ("model.bin", "config.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    assert error_of(tmp_path, "alice/small") == (
        f"{tmp_path} is an export for CTranslate2: it is not pushed.\n"
        "Pushed are runs and model folders, with weights in safetensors.\n"
        "Push the model that it was made from; export it again where it is used."
    )


def test_a_run_folder_that_cannot_be_written(run: RunFolder) -> None:
    (run.path / "hub").write_text("no folder", encoding="utf-8")
    assert error_of(run.path, "alice/tuned") == (
        f"{run.path}/hub cannot be written: File exists.\n"
        "A run is copied there before it is pushed.\n"
        f"Mend that, or push its model alone: attuner push {run.model} HUB_ID"
    )


def test_the_recipe_says_where_to(hub: Hub, run: RunFolder, build: Any) -> None:
    recipe = build("publish={hub_id: team/kde, private: false, message: KDE, tag: v2}")
    run.recipe.write_text(dump_recipe(recipe), encoding="utf-8")
    push(run.path)
    repo = hub.repos["team/kde"]

    assert (repo.private, repo.messages) == (False, ["KDE complete"])
    assert repo.tags == {"v2": repo.commits[-1].oid}
