"""A stand-in for the Hugging Face Hub: the calls that huggingface_hub makes, over plain HTTP.

Repositories lie in memory. Users are known by their tokens; faults are switched on one by one:

    with Hub() as hub:
        hub.fault("PUT /lfs/", cut_after=1000, times=1)
        subprocess.run([...], env={**os.environ, **hub.environment(home)})
        hub.repos["alice/model"].files

By hand: `python tests/hub/server.py`, which prints what to set.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

# What a token opens: the user, and whether it may write.
TOKENS = {"hf_alice": ("alice", True), "hf_reader": ("alice", False), "hf_bob": ("bob", True)}
ORGANISATIONS = {"team": {"alice", "bob"}, "closed": set[str]()}
# What a system says where nobody listens: the number differs.
REFUSED = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"
_LFS = (".safetensors", ".spm", ".parquet", ".bin")
_CHUNK = 1 << 16


@dataclass
class Commit:
    """A state of a repository."""

    oid: str
    message: str
    files: dict[str, str]  # path → SHA-256 of the contents


@dataclass
class Repository:
    """Its history, oldest first."""

    id: str
    kind: str
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[str]:
        return [commit.message for commit in self.commits[1:]]

    def at(self, revision: str) -> Commit | None:
        wanted = self.commits[-1].oid if revision == "main" else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == wanted), None)


@dataclass
class Fault:
    """What goes wrong with requests, `METHOD /path`, that a pattern is found in."""

    pattern: str
    status: int = 0
    message: str = ""
    times: int = 1_000_000
    seconds: float = 0.0  # the answer waits so long
    cut_after: int | None = None  # bytes of the body that are read before the line is cut
    bytes_per_second: float = 0.0  # the body is read no faster


class Hub:
    """The stand-in; use it in a `with`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.multipart_bytes = 0  # above 0: LFS files are uploaded in parts of so many bytes
        self.lock = threading.RLock()
        self.port = 0
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, home: Path, token: str | None = "hf_alice") -> dict[str, str]:
        """What a process needs to take this for the Hub."""
        found = {
            "HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }  # fmt: skip
        return {**found, "HF_TOKEN": token} if token else found

    def start(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections until it is started again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fault(self, pattern: str, **what: Any) -> Fault:
        """Let something go wrong from now on; `mend` ends it."""
        fault = Fault(pattern, **what)
        self.faults.append(fault)
        return fault

    def mend(self) -> None:
        """No faults any more."""
        self.faults.clear()

    def add(
        self, repo_id: str, files: dict[str, bytes], *, kind: str = "models", private: bool = False
    ) -> Repository:
        """A repository with these files; a further commit where it is there already."""
        with self.lock:
            if repo_id not in self.repos:
                self.repos[repo_id] = Repository(repo_id, kind, private)
                self.commit(self.repos[repo_id], "initial commit", {".gitattributes": b"*\n"})
            self.commit(self.repos[repo_id], "Upload files", files)
        return self.repos[repo_id]

    def commit(self, repo: Repository, message: str, files: dict[str, bytes | None]) -> Commit:
        """Add a commit; None deletes a file."""
        names = dict(repo.commits[-1].files) if repo.commits else {}
        for path, content in files.items():
            if content is None:
                names.pop(path, None)
            else:
                names[path] = self.store(content)
        number = f"{repo.id} {len(repo.commits)} {message}"
        repo.commits.append(Commit(hashlib.sha1(number.encode()).hexdigest(), message, names))
        return repo.commits[-1]

    def store(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def files(self, repo_id: str) -> dict[str, bytes]:
        """The latest files of a repository, without .gitattributes."""
        names = self.repos[repo_id].commits[-1].files
        return {path: self.blobs[digest] for path, digest in names.items() if path[0] != "."}

    def clone(self, repo_id: str, folder: Path, *, revision: str = "main") -> Path:
        """Write a repository's files into a folder."""
        commit = self.repos[repo_id].at(revision)
        assert commit is not None
        for path, digest in commit.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(self.blobs[digest])
        return folder


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        self.hub = hub
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are part of the game."""


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str = "", url: str = "") -> None:
        self.status, self.message, self.code, self.url = status, message, code, url


def git_oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `Hub.requests`."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (names that the base class looks for)

    def _answer(self) -> None:
        self.hub = self.server.hub
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        # Some segments are quoted once more, such as refs/heads/main in one.
        self.segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
        line = f"{self.command} {parts.path}"
        with self.hub.lock:
            self.hub.requests.append(line)
            faults = [f for f in self.hub.faults if f.times and re.search(f.pattern, line)]
            fault = next(iter(faults), None)
            if fault:
                fault.times -= 1
        try:
            self.body = self._read(fault)
            if fault and fault.seconds:
                time.sleep(fault.seconds)
            if fault and fault.status:
                raise _RefusedError(fault.status, fault.message)
            self._route()
        except _RefusedError as refused:
            headers = {"X-Error-Message": refused.message}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            url = {"url": refused.url} if refused.url else {}
            self._send(refused.status, {"error": refused.message, **url}, headers)

    def _read(self, fault: Fault | None) -> bytes:
        """The body, whole or in chunks; cut or slow where a fault says so."""
        found = bytearray()
        for chunk in self._chunks():
            found += chunk
            if fault and fault.cut_after is not None and len(found) >= fault.cut_after:
                self.close_connection = True
                self.connection.close()
                raise ConnectionAbortedError
            if fault and fault.bytes_per_second:
                time.sleep(len(chunk) / fault.bytes_per_second)
        return bytes(found)

    def _chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            chunk = self.rfile.read(min(left, _CHUNK))
            if not chunk:  # whoever sent it is gone
                self.close_connection = True
                raise ConnectionAbortedError
            left -= len(chunk)
            yield chunk

    def _send(self, status: int, value: Any = None, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def _user(self) -> tuple[str, bool] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in TOKENS:
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return TOKENS.get(token)

    def _route(self) -> None:
        match self.segments:
            case ["api", "whoami-v2"]:
                self._whoami()
            case ["api", "repos", "create"]:
                self._create()
            case ["api", "validate-yaml"]:
                self._send(200, {"errors": [], "warnings": []})
            case ["api", ("models" | "datasets") as kind, *rest]:
                self._api(kind, rest)
            case ["lfs", oid, *rest]:
                self._lfs(oid, rest)
            case ["cdn", oid]:
                self._send_blob(self.hub.blobs[oid], {"ETag": f'"{oid}"'})
            case [*repo, "info", "lfs", "objects", "batch"]:
                self._batch(self._repo("/".join(repo[-2:]).removesuffix(".git"), writes=True))
            case ["datasets", owner, name, "resolve", revision, *path]:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case [owner, name, "resolve", revision, *path]:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                raise _RefusedError(404, "Not found", "EntryNotFound")

    def _whoami(self) -> None:
        user = self._user
        if user is None:
            raise _RefusedError(401, "Invalid username or password.")
        orgs = [{"name": name} for name, users in ORGANISATIONS.items() if user[0] in users]
        self._send(200, {"type": "user", "name": user[0], "orgs": orgs, "auth": {}})

    def _create(self) -> None:
        asked, user = json.loads(self.body), self._user
        if user is None:
            raise _RefusedError(401, "Invalid username or password.")
        owner = asked.get("organization") or user[0]
        repo_id = f"{owner}/{asked['name']}"
        if not user[1] or not self._may_write(user[0], owner):
            rights = f'You don\'t have the rights to create a model under the namespace "{owner}"'
            raise _RefusedError(403, rights)
        url = f"{self.hub.endpoint}/{repo_id}"
        with self.hub.lock:
            if repo_id in self.hub.repos:
                raise _RefusedError(409, "You already created this model repo", url=url)
            kind = f"{asked.get('type', 'model')}s"
            repo = Repository(repo_id, kind, asked.get("visibility") == "private")
            self.hub.repos[repo_id] = repo
            self.hub.commit(repo, "initial commit", {".gitattributes": b"*\n"})
        self._send(200, {"url": url, "name": repo_id, "id": repo_id})

    def _may_write(self, user: str, owner: str) -> bool:
        return user == owner or user in ORGANISATIONS.get(owner, ())

    def _repo(self, repo_id: str, *, writes: bool = False) -> Repository:
        repo, user = self.hub.repos.get(repo_id), self._user
        owner = repo_id.split("/")[0]
        may_read = repo and (not repo.private or (user and self._may_write(user[0], owner)))
        if repo is None or not may_read:
            raise _RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")
        if writes and not (user and user[1] and self._may_write(user[0], owner)):
            raise _RefusedError(403, "Forbidden: you don't have write access to this repository")
        return repo

    def _commit_of(self, repo: Repository, revision: str) -> Commit:
        commit = repo.at(revision.removeprefix("refs/heads/"))
        if commit is None:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _api(self, kind: str, rest: list[str]) -> None:
        writes = len(rest) > 2 and rest[2] in ("preupload", "commit", "tag")
        repo = self._repo("/".join(rest[:2]), writes=writes)
        match rest[2:]:
            case []:
                self._info(repo, repo.commits[-1])
            case ["revision", revision]:
                self._info(repo, self._commit_of(repo, revision))
            case ["refs"]:
                self._refs(repo)
            case ["tree", revision, *path]:
                self._tree(self._commit_of(repo, revision), "/".join(path))
            case ["paths-info", revision]:
                self._paths(self._commit_of(repo, revision))
            case ["preupload", _]:
                self._preupload(repo)
            case ["commit", _]:
                self._commit(repo)
            case ["tag", revision]:
                tag = json.loads(self.body)["tag"]
                if tag in repo.tags:
                    raise _RefusedError(409, f"Tag {tag} already exists")
                repo.tags[tag] = self._commit_of(repo, revision).oid
                self._send(200, {})
            case _:
                raise _RefusedError(404, "Not found", "EntryNotFound")

    def _info(self, repo: Repository, commit: Commit) -> None:
        siblings = [{"rfilename": path} for path in commit.files]
        self._send(
            200,
            {
                "_id": repo.id, "id": repo.id, "modelId": repo.id, "sha": commit.oid,
                "private": repo.private, "siblings": siblings, "tags": [], "downloads": 0,
            },
        )  # fmt: skip

    def _refs(self, repo: Repository) -> None:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1].oid}
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid}
            for name, oid in repo.tags.items()
        ]
        self._send(200, {"branches": [main], "tags": tags, "converts": []})

    def _entry(self, path: str, digest: str) -> dict[str, Any]:
        content = self.hub.blobs[digest]
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
        if path.endswith(_LFS):
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    def _tree(self, commit: Commit, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        inside = {path: d for path, d in commit.files.items() if path.startswith(prefix)}
        if folder and not inside:
            raise _RefusedError(404, f"{folder} does not exist", "EntryNotFound")
        is_deep = self.query.get("recursive", "").lower() in ("1", "true")
        files = [
            self._entry(path, digest)
            for path, digest in inside.items()
            if is_deep or "/" not in path.removeprefix(prefix)
        ]
        below = {path.removeprefix(prefix).rpartition("/")[0] for path in inside}
        tops = below if is_deep else {name.split("/")[0] for name in below}
        folders = [
            {"type": "directory", "path": prefix + name, "size": 0, "oid": git_oid(name.encode())}
            for name in sorted(tops - {""})
        ]
        self._send(200, [*folders, *files])

    def _paths(self, commit: Commit) -> None:
        if "json" in self.headers.get("Content-Type", ""):
            wanted = json.loads(self.body)["paths"]
        else:
            wanted = parse_qs(self.body.decode())["paths"]
        found = [self._entry(p, commit.files[p]) for p in wanted if p in commit.files]
        found += [
            {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())}
            for path in wanted
            if any(name.startswith(f"{path}/") for name in commit.files)
        ]
        self._send(200, found)

    def _preupload(self, repo: Repository) -> None:
        known = repo.commits[-1].files
        files = []
        for file in json.loads(self.body)["files"]:
            is_lfs, digest = file["path"].endswith(_LFS), known.get(file["path"])
            oid = None
            if digest is not None:
                oid = digest if is_lfs else git_oid(self.hub.blobs[digest])
            mode = "lfs" if is_lfs else "regular"
            files.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self._send(200, {"files": files})

    def _batch(self, repo: Repository) -> None:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            oid, size = asked["oid"], asked["size"]
            found: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.hub.blobs:
                url = f"{self.hub.endpoint}/lfs/{oid}"
                upload: dict[str, Any] = {"href": url}
                if self.hub.multipart_bytes:
                    count = -(-size // self.hub.multipart_bytes)
                    header = {f"{n:05}": f"{url}/part/{n}" for n in range(1, count + 1)}
                    header["chunk_size"] = str(self.hub.multipart_bytes)
                    upload = {"href": f"{url}/complete", "header": header}
                found["actions"] = {"upload": upload, "verify": {"href": f"{url}/verify"}}
            objects.append(found)
        self._send(200, {"transfer": "basic", "objects": objects})

    def _lfs(self, oid: str, rest: list[str]) -> None:
        match rest:
            case []:
                if hashlib.sha256(self.body).hexdigest() != oid:
                    raise _RefusedError(400, "The contents are not those announced")
                self.hub.blobs[oid] = self.body
            case ["part", number]:
                self.hub.parts[oid, int(number)] = self.body
            case ["complete"]:
                numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
                self.hub.store(b"".join(self.hub.parts[oid, n] for n in numbers))
        if rest[:1] != ["part"] and oid not in self.hub.blobs:
            raise _RefusedError(404, "No such object")
        self._send(200, {}, {"ETag": f'"{oid[:8]}"'})

    def _commit(self, repo: Repository) -> None:
        header: dict[str, Any] = {}
        changed: dict[str, bytes | None] = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    header = value
                case "file":
                    changed[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        raise _RefusedError(400, f"LFS object {value['oid']} was not uploaded")
                    changed[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    changed[value["path"]] = None
        with self.hub.lock:
            parent = header.get("parentCommit")
            if parent and parent != repo.commits[-1].oid:
                raise _RefusedError(
                    412, "A commit has happened since. Please refresh and try again."
                )
            commit = self.hub.commit(repo, header["summary"], changed)
        url = f"{self.hub.endpoint}/{repo.id}/commit/{commit.oid}"
        self._send(200, {"success": True, "commitOid": commit.oid, "commitUrl": url})

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        commit = self._commit_of(self._repo(repo_id), revision)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self._send(404, {"error": "Entry not found"}, headers)
            return
        digest = commit.files[path]
        content = self.hub.blobs[digest]
        if path.endswith(_LFS):  # another host, as with the real one: no token goes there
            headers |= {
                "Location": f"http://localhost:{self.hub.port}/cdn/{digest}",
                "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)),
            }  # fmt: skip
            self._send(302, b"", headers)
        else:
            self._send_blob(content, {**headers, "ETag": f'"{git_oid(content)}"'})

    def _send_blob(self, content: bytes, headers: dict[str, str]) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None:
            self._send(200, content, {**headers, "Accept-Ranges": "bytes"})
            return
        first, last = int(found[1]), int(found[2] or len(content) - 1)
        span = f"bytes {first}-{last}/{len(content)}"
        self._send(206, content[first : last + 1], {**headers, "Content-Range": span})


def wait_until(claim: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until something is so; fails where it does not come."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


if __name__ == "__main__":
    with Hub() as running, TemporaryDirectory(prefix="attuner-hub-") as home:
        for name, value in running.environment(Path(home)).items():
            print(f"export {name}={value}")
        threading.Event().wait()
