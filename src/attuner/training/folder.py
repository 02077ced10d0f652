"""The run folder: what lies where, and that nothing in it is overwritten or half written.

runs/NAME/
recipe.yaml          the recipe as resolved
manifest.json        versions, seeds, data fingerprints, machine
metrics.jsonl        one line an event: updates, scores, the end
translations.jsonl   test entries before and after, with their references
predictions.jsonl    of a classifier: test examples before and after, with their labels
labels.csv           of a classifier: precision, recall and F1 of each label
confusion.png        of a classifier: which labels are taken for which
curves.png           loss and scores over the run
seeds.jsonl, seed-42/, ...  with several seeds: what each scored, and its run
vocabulary/          the tokenizer, where it was learned from the data, or the labels' names
checkpoints/         what the run can be resumed from
model/               what is delivered
tensorboard/, wandb/ what trackers keep, where the recipe asks for them
.tracking-id         under which trackers know the run
hub/                 what is to be pushed to the Hub, and what was; see `publishing.outbox`
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attuner.errors import RunError
from attuner.training.checkpoint_folder import checkpoints, sync
from attuner.training.events import Event


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
    def predictions(self) -> Path:
        """Labels of test examples before and after."""
        return self.path / "predictions.jsonl"

    @property
    def labels(self) -> Path:
        """Precision, recall and F1 of each label."""
        return self.path / "labels.csv"

    @property
    def confusion(self) -> Path:
        """The plot of which labels are taken for which."""
        return self.path / "confusion.png"

    @property
    def seeds(self) -> Path:
        """Of a run with several seeds: what each that is over has scored."""
        return self.path / "seeds.jsonl"

    @property
    def curves(self) -> Path:
        """The plot."""
        return self.path / "curves.png"

    @property
    def vocabulary(self) -> Path:
        """What was learned of the data but weights: the tokenizer, or the labels' names."""
        return self.path / "vocabulary"

    @property
    def checkpoints(self) -> Path:
        """What the run can be resumed from."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """What is delivered."""
        return self.path / "model"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard shows."""
        return self.path / "tensorboard"

    @property
    def wandb(self) -> Path:
        """What Weights & Biases can upload."""
        return self.path / "wandb"

    @property
    def tracking_id(self) -> Path:
        """Under which name trackers know the run, so that a resumed one is the same to them."""
        return self.path / ".tracking-id"

    @property
    def lock(self) -> Path:
        """The file that the process which trains holds."""
        return self.path / ".lock"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume from; of several seeds, in any of them."""
        places = (self.checkpoints, *self.path.glob("seed-*/checkpoints"))
        return self.seeds.is_file() or any(map(checkpoints, places))

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
        for line in lines_of(self.metrics):
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def sync_events(self) -> None:
        """Make sure that `metrics.jsonl` is on the disk."""
        if self.metrics.is_file():
            sync(self.metrics)

    def keep_events_until(self, step: int) -> None:
        """Forget the events after an update, which a resumed run will repeat."""
        kept = [e for e in self.events() if e.get("step", 0) <= step]
        kept = [e for e in kept if e["event"] not in ("finished", "delivered")]
        kept = [e for e in kept if e.get("when") not in ("mean", "after")]
        write_lines(self.metrics, kept)

    def clear(self) -> None:
        """Remove what a run writes, but its recipe, for one that starts anew."""
        self.remove_leftovers()
        for path in (
            self.manifest, self.metrics, self.translations, self.predictions, self.curves,
            self.tracking_id,
        ):  # fmt: skip
            path.unlink(missing_ok=True)
        for path in (self.vocabulary, self.checkpoints, self.tensorboard, self.wandb):
            shutil.rmtree(path, ignore_errors=True)
        self.checkpoints.mkdir()

    def remove_leftovers(self) -> None:
        """Remove what a killed run was about to write."""
        for path in (self.recipe, self.manifest, self.metrics, self.translations, self.predictions):
            for leftover in self.path.glob(f".{path.name}.*"):
                leftover.unlink()
        for path in (self.vocabulary, self.model):
            shutil.rmtree(partial_of(path), ignore_errors=True)


def create_run_folder(parent: str, name: str) -> RunFolder:
    """Make a new run folder.

    Raises:
        RunError: The name is taken, or the folder cannot be made.
    """
    folder = RunFolder(Path(parent) / name)
    path = folder.path
    try:
        path.mkdir(parents=True)
        folder.checkpoints.mkdir()
    except FileExistsError:
        or_else = f", or go on with it: attuner train --resume {path}"
        raise RunError(
            f"{path} exists already.",
            "A run needs a folder of its own; nothing is overwritten.",
            f"Choose another name with output.name=...{or_else if folder.has_checkpoint else ''}",
        ) from None
    except OSError as error:
        raise RunError(
            f"{path} cannot be made: {error.strerror or error}.",
            "Expected a folder that you may write to.",
            "Choose another place with output.folder=...",
        ) from error
    return folder


def remove_unless_resumable(folder: RunFolder, parents: Sequence[Path]) -> None:
    """Remove a new run folder without a checkpoint, and the parents made for it if empty."""
    if folder.has_checkpoint:
        return
    shutil.rmtree(folder.path, ignore_errors=True)
    for parent in parents:
        with suppress(OSError):  # something else is in it, or it is gone
            parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a file that is never half written."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file that is never half written."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in lines_of(path)]


def lines_of(path: Path) -> list[str]:
    r"""The lines of a JSON Lines file; a letter that a crash cut short is no letter.

    They end at a line feed and nowhere else: JSON leaves U+0085 and U+2028 in texts as they are,
    and `str.splitlines` would cut there.
    """
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        return list(file)


def partial_of(path: Path) -> Path:
    """The temporary folder of one that is being written."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `path` when the block ends well."""
    partial = partial_of(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
