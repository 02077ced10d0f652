"""The stand-in for the Hub answers huggingface_hub itself as the Hub would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.server import Hub, wait_until

_ROUND = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download

api = HfApi()
repo = api.create_repo("model", private=True, exist_ok=True).repo_id
add = lambda path, content: CommitOperationAdd(path, content)
first = api.create_commit(
    repo, [add("a.json", b"{}"), add("w.safetensors", b"w" * 100), add("run/b.txt", b"b")],
    commit_message="first",
)
api.create_tag(repo, tag="v1")
api.create_commit(
    repo, [add("a.json", b"[]"), CommitOperationDelete("run/b.txt")], commit_message="second"
)
def names(revision):
    folder = Path(snapshot_download(repo, revision=revision))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}
print(json.dumps({
    "repo": repo, "url": first.commit_url, "main": names(None), "v1": names("v1"),
    "files": api.list_repo_files(repo), "user": api.whoami()["name"],
    "tags": [tag.name for tag in api.list_repo_refs(repo).tags],
}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.mark.parametrize("multipart_bytes", [0, 30])
def test_a_round_of_all_calls(hub: Hub, tmp_path: Path, multipart_bytes: int) -> None:
    hub.multipart_bytes = multipart_bytes
    environment = {**os.environ, **hub.environment(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _ROUND], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    weights = "w" * 100
    assert said == {
        "repo": "alice/model",
        "url": f"{hub.endpoint}/alice/model/commit/{hub.repos['alice/model'].commits[1].oid}",
        "main": {".gitattributes": "*\n", "a.json": "[]", "w.safetensors": weights},
        "v1": {
            ".gitattributes": "*\n", "a.json": "{}", "run/b.txt": "b", "w.safetensors": weights,
        },
        "files": [".gitattributes", "a.json", "w.safetensors"],
        "user": "alice",
        "tags": ["v1"],
    }  # fmt: skip
    assert hub.repos["alice/model"].messages == ["first", "second"]
    assert hub.repos["alice/model"].private


def test_nobody_waits_for_a_client_that_is_gone(hub: Hub) -> None:
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", hub.port)) as client:
        client.sendall(b"PUT /lfs/x HTTP/1.1\r\nHost: hub\r\nContent-Length: 1000\r\n\r\nhalf")
        wait_until(lambda: hub.requests != [])
    wait_until(lambda: set(threading.enumerate()) <= before, seconds=10)
