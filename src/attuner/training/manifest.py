"""The manifest: what is needed to know which run this was, and whether its data are the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attuner.data.flat_arrays import blocks_of
from attuner.errors import DataError, RunError
from attuner.evaluation.own_functions import fingerprints
from attuner.models.fingerprint import file_sha256, weights_fingerprint
from attuner.training.data import data_files, hub_data
from attuner.training.folder import RunFolder

if TYPE_CHECKING:
    from attuner.recipe import Recipe
    from attuner.training.jobs import Job
    from attuner.training.setup import Device

_LIBRARIES = (
    "attuner", "torch", "transformers", "accelerate", "datasets", "ctranslate2",
    "sentencepiece", "sacrebleu", "scikit-learn", "peft", "translate-toolkit",
)  # fmt: skip
_MOST_LISTED = 5


def build_manifest(
    recipe: Recipe,
    job: Job,
    device: Device,
    features: Mapping[str, str],
    *,
    num_processes: int,
    is_sharded: bool,
) -> dict[str, Any]:
    """When it began, recipe, versions, machine, seeds, fingerprints of model and data.

    Args:
        recipe: The recipe.
        job: Its task, with the model found.
        device: Where the run computes.
        features: Fingerprint of the token ids of each part.
        num_processes: Processes that share the training.
        is_sharded: Whether each keeps a share of the model.
    """
    weights = weights_fingerprint(job.model_folder) if job.model_folder else {}
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        **surroundings(device),
        "processes": num_processes,
        "sharded": is_sharded,
        "seeds": {"training": recipe.training.seed, "split": recipe.data.split.seed},
        "model": {"name": job.model_name, "sha256": weights},
        "data": {str(path): file_sha256(path) for path in data_files(recipe)},
        "hub_data": hub_data(recipe),
        "functions": fingerprints(recipe.evaluation.functions),
        "features": dict(features),
        "recipe": recipe.model_dump(mode="json"),
    }


def surroundings(device: Device) -> dict[str, dict[str, Any]]:
    """Versions and machine: what the numbers of a run depend on beside its recipe and data."""
    import torch

    from attuner.kernels import describe

    place = device.accelerator.device
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "device": _device_name(place),
            "precision": device.precision,
            "kernels": describe(place.type),
            "threads": torch.get_num_threads(),
        },
    }


def features_fingerprint(features: Any) -> str:
    """Hash of all arrays in features, whatever task they are of.

    >>> import numpy as np
    >>> from attuner.data.features import TokenColumn
    >>> one = TokenColumn(np.array([5, 6]), np.array([0, 2]))
    >>> other = TokenColumn(np.array([5, 6]), np.array([0, 1, 2]))
    >>> features_fingerprint(one) == features_fingerprint(other)
    False
    """
    digest = hashlib.blake2b(digest_size=16)

    def take(value: Any) -> None:
        if is_dataclass(value):
            for part in fields(value):
                take(getattr(value, part.name))
        elif value is None:  # such as the types of tokens, which few families tell apart
            digest.update(b"none")
        else:
            digest.update(f"{value.dtype} {value.shape}".encode())
            for block in blocks_of(value):
                digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)

    take(features)
    return digest.hexdigest()


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """The manifest of a run.

    Raises:
        RunError: It is missing or damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads(folder.manifest.read_text(encoding="utf-8"))
        missing = {"data", "hub_data", "features", "model", "recipe"} - set(manifest)
        if missing:
            raise ValueError(f"it has no {min(missing)}")
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"{folder.manifest} cannot be read: {error}",
            "Resuming compares recipe, data and model with what is in it.",
            "Put the file back (each checkpoint has a copy), or start a new run: "
            f"attuner train {folder.recipe} output.name=...",
        ) from error
    return manifest


def machine_changes(folder: RunFolder, now: Mapping[str, Any]) -> list[str]:
    """In which respects this is not the machine, or not the software, that the run began on.

    Args:
        folder: The run.
        now: The `surroundings` of just now.
    """
    then = read_manifest(folder)
    found = []
    for place in ("machine", "versions"):
        old = then.get(place, {})
        for what in dict.fromkeys([*old, *now[place]]):
            if old.get(what) != now[place].get(what):
                found.append(f"{what} {old.get(what)} → {now[place].get(what)}")
    return found


def require_same_features(folder: RunFolder, features: Mapping[str, str]) -> None:
    """Refuse to go on with other token ids: the same files can be read or split otherwise.

    Args:
        folder: The run.
        features: Fingerprint of each part, now.

    Raises:
        RunError: They are others than when the run began.
    """
    known = read_manifest(folder)["features"]
    names = [
        name for name in dict.fromkeys([*known, *features]) if known.get(name) != features.get(name)
    ]
    if names:
        raise RunError(
            f"The examples of {', '.join(names)} are others than when the run began, although the "
            "files are the same.",
            "A run goes on with the very examples that it began with. What they are can depend on "
            "the names of files (data.split.by=file or catalog) and on the versions of libraries: "
            f"those of then are in {folder.manifest}.",
            "Give the files the names that they had, or install those versions, or start a new "
            f"run: attuner train {folder.recipe} output.name=...",
        )


def _device_name(device: Any) -> str:
    """A torch device with the accelerator's name, such as `cuda (NVIDIA H100)`."""
    import torch

    if device.type != "cuda":
        return str(device.type)  # of several processes it has a number, which means nothing
    return f"{device} ({torch.cuda.get_device_name(device)})"


def require_same_data(folder: RunFolder, recipe: Recipe) -> None:
    """Refuse to go on with other data: the position in them is a number of updates.

    The files may lie elsewhere than they did, if they are the same files in the same order.

    Args:
        folder: The run.
        recipe: What it is to go on with.

    Raises:
        RunError: A file has changed, has gone or has come since the run began.
    """
    manifest = read_manifest(folder)
    known: dict[str, str] = manifest["data"]
    try:
        paths = data_files(recipe)
    except DataError:  # what a source names is not there: files that are missing are named below
        paths = []
        if all(map(os.path.isfile, known)):
            raise
    digests = {str(path): file_sha256(path) for path in paths}
    found = []
    if list(digests.values()) != list(known.values()):
        found = (
            [f for path, old in known.items() if (f := _change(Path(path), old))]
            or [f"{path} is new since the run began." for path in digests if path not in known]
            or ["The data files are not the same ones in the same order as when the run began."]
        )
    if manifest["hub_data"] != hub_data(recipe):
        found.append("The data sets of the Hub are not those that the run began with.")
    if found:
        more = len(found) - _MOST_LISTED
        listed = [*found[:_MOST_LISTED], *([f"... and {more} more"] if more > 0 else [])]
        raise RunError(
            "\n".join(listed),
            "A run goes on with the very data that it began with: its place in them is a number.",
            "Put them back as they were (relative paths count from here), say where they lie now: "
            f"attuner train --resume {folder.path} data.train=..., or start a new run: "
            f"attuner train {folder.recipe} output.name=...",
        )


def require_same_model(folder: RunFolder, model_folder: Path | None) -> None:
    """Refuse to go on from another model: checkpoints lack the weights that are not trained.

    Args:
        folder: The run.
        model_folder: Where the model's weights lie now; None for random ones.

    Raises:
        RunError: They are others than when the run began.
    """
    known = read_manifest(folder)["model"].get("sha256")
    if model_folder is None or known == weights_fingerprint(model_folder):
        return
    raise RunError(
        f"The weights in {model_folder} have changed since the run began.",
        "A run goes on with the very model that it began with: their SHA-256 is in "
        f"{folder.manifest}.",
        "Put them back as they were, or start a new run: "
        f"attuner train {folder.recipe} output.name=...",
    )


def _change(path: Path, digest: str) -> str:
    """What is no longer as it was; "" where nothing is."""
    if not path.is_file():
        return f"{path} is missing, which the run began with."
    now = file_sha256(path)
    if now == digest:
        return ""
    return (
        f"{path} has changed since the run began (SHA-256 {digest[:12]}... then, {now[:12]}... now)"
        "."
    )


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
