"""The run folder: what lies where, and that nothing in it is overwritten or half written.

runs/NAME/
recipe.yaml          the recipe as resolved
manifest.json        versions, seeds, data fingerprints, machine
metrics.jsonl        one line an event: updates, scores, the end
translations.jsonl   test entries before and after, with their references
curves.png           loss and scores over the run
checkpoints/         what the run can be resumed from
model/               what is delivered
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attuner.errors import RunError
from attuner.training.events import Event

_LIBRARIES = (
    "attuner", "torch", "transformers", "accelerate", "datasets", "ctranslate2",
    "sentencepiece", "sacrebleu", "translate-toolkit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe as resolved."""
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, seeds, data fingerprints, machine."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One line an event."""
        return self.path / "metrics.jsonl"

    @property
    def translations(self) -> Path:
        """Test entries before and after."""
        return self.path / "translations.jsonl"

    @property
    def curves(self) -> Path:
        """The plot."""
        return self.path / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """What the run can be resumed from."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """What is delivered."""
        return self.path / "model"

    def append(self, event: Event) -> None:
        """Write an event as a line of `metrics.jsonl`."""
        line = {"event": type(event).__name__.lower(), **asdict(event)}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut short by a crash is left out."""
        if not self.metrics.is_file():
            return []
        found = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def keep_events_until(self, step: int) -> None:
        """Forget the events after an update, which a resumed run will repeat."""
        kept = [e for e in self.events() if e.get("step", e.get("num_steps", 0)) <= step]
        kept = [e for e in kept if e["event"] not in ("finished", "delivered", "planned")]
        write_lines(self.metrics, kept)


def create_run_folder(parent: str, name: str) -> RunFolder:
    """Make a new run folder.

    Raises:
        RunError: The name is taken, or the folder cannot be made.
    """
    path = Path(parent) / name
    try:
        path.mkdir(parents=True)
        folder = RunFolder(path)
        folder.checkpoints.mkdir()
    except FileExistsError:
        raise RunError(
            f"{path} exists already.",
            "A run needs a folder of its own; nothing is overwritten.",
            f"Choose another name with output.name=..., or go on with it: "
            f"attuner train --resume {path}",
        ) from None
    except OSError as error:
        raise RunError(
            f"{path} cannot be made: {error.strerror or error}.",
            "Expected a folder that you may write to.",
            "Choose another place with output.folder=...",
        ) from error
    return folder


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to start where the run would fill the disk.

    Raises:
        RunError: Less is free than the run needs.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RunError(
            f"{folder}: {free / 1e9:.1f} GB are free, the run needs about "
            f"{needed_bytes / 1e9:.1f} GB.",
            "A checkpoint takes three times the model in fp32; the latest ones and the best are "
            "kept.",
            "Make room, keep fewer (training.keep_checkpoints=1), or choose another place "
            "(output.folder=...).",
        )


def build_manifest(
    *, data_files: Iterable[Path], model: str, model_folder: Path | None, seeds: Mapping[str, int]
) -> dict[str, Any]:
    """What is needed to know which run this was."""
    weights = sorted(model_folder.glob("*.safetensors")) if model_folder else []
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": processor_name(),
            "cores": os.cpu_count(),
        },
        "seeds": dict(seeds),
        "model": {"name": model, "sha256": {path.name: sha256(path) for path in weights}},
        "data": {str(path): sha256(path) for path in data_files},
    }


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def sha256(path: Path) -> str:
    """Fingerprint of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file that is never half written."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file that is never half written."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `path` when the block ends well."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
