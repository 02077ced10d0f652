"""States of a run as they are pushed.

In the repository the model lies on top, where all libraries look for it, and below `run/` what the
run can be resumed from: recipe, manifest, events, predictions, vocabulary, the last checkpoint and
the weights of the others that are kept. When the run is over, of these the recipe, the manifest and
the events are left.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attuner.training.checkpoint_folder import checkpoints
from attuner.training.folder import RunFolder, new_folder

RUN = "run"
# What a checkpoint is resumed from, and its weights are not; the larger part of it.
_OF_RESUMING = ("optimizer.safetensors", "random.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".msgpack", ".h5")


def copy_so_far(run: RunFolder, place: Path) -> None:
    """Copy what the run can be resumed from, weights as hard links: that takes no time."""
    kept = RunFolder(place / RUN)
    _copy_lasting(run, kept)
    for file in (run.translations, run.predictions):
        if file.is_file():
            _copy(file, kept.path / file.name)
    if run.vocabulary.is_dir():
        _copy_folder(run.vocabulary, kept.vocabulary)
    found = checkpoints(run.checkpoints)
    for checkpoint in found:
        left_out = () if checkpoint == found[-1] else _OF_RESUMING
        _copy_folder(checkpoint, kept.checkpoints / checkpoint.name, left_out)


def copy_result(run: RunFolder, place: Path) -> None:
    """Copy what a run has delivered."""
    _copy_lasting(run, RunFolder(place / RUN))
    _copy_folder(run.model, place / "model")


def files_of(place: Path, model: Path, *, with_checkpoints: bool) -> dict[str, Path]:
    """The files of a state by their names in the repository.

    Args:
        place: The state.
        model: Its model folder; made where it is not there, of the weights so far.
        with_checkpoints: Whether what the run can be resumed from is among them.
    """
    kept = RunFolder(place / RUN)
    if not model.is_dir():
        from attuner.cards.truth import write_card
        from attuner.training.card import facts_so_far
        from attuner.training.snapshot import write_model_so_far

        with new_folder(model) as partial:
            made = write_model_so_far(kept, partial)
            write_card(facts_so_far(made, kept, partial), partial)
    found = {path.relative_to(model).as_posix(): path for path in _pushed(model)}
    lasting = (kept.recipe, kept.manifest, kept.metrics)
    for path in _pushed(kept.path):
        if with_checkpoints or path in lasting:
            found[f"{RUN}/{path.relative_to(kept.path).as_posix()}"] = path
    return found


def is_obsolete(name: str) -> bool:
    """Whether a file that a repository has and a state has not is one of an earlier state."""
    is_weights = name.endswith((".safetensors", ".safetensors.index.json")) and "/" not in name
    return is_weights or name.startswith(f"{RUN}/")


def left_out(model: Path) -> list[str]:
    """The files of a model folder that are never pushed, as they can run code."""
    return sorted(path.name for path in model.rglob("*") if path.suffix in _PICKLES)


def _pushed(folder: Path) -> list[Path]:
    """The files of a folder, but hidden ones and pickles."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in _PICKLES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _copy_lasting(run: RunFolder, kept: RunFolder) -> None:
    kept.path.mkdir(parents=True)
    for file in (run.recipe, run.manifest, run.metrics):
        if file.is_file():
            _copy(file, kept.path / file.name)


def _copy_folder(source: Path, target: Path, left_out: tuple[str, ...] = ()) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name not in left_out:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copied)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; weights, which are never written in place, as a hard link where that is so."""
    if source.suffix == ".safetensors":
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
