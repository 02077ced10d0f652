"""The manifest: what is needed to know which run this was, and whether its data are the same."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attuner.errors import RunError
from attuner.models.fingerprint import file_sha256, weights_fingerprint
from attuner.training.folder import RunFolder

_LIBRARIES = (
    "attuner", "torch", "transformers", "accelerate", "datasets", "ctranslate2",
    "sentencepiece", "sacrebleu", "scikit-learn", "peft", "translate-toolkit",
)  # fmt: skip
_MOST_LISTED = 5


def build_manifest(
    *,
    data_files: Iterable[Path],
    hub_data: Sequence[Mapping[str, str | None]],
    model: str,
    model_folder: Path | None,
    seeds: Mapping[str, int],
    device: str,
    precision: str,
    kernels: str,
) -> dict[str, Any]:
    """Versions, machine, seeds, fingerprints of model and data.

    Args:
        data_files: All local files of the recipe's sources.
        hub_data: Id, configuration, revision and split of those on the Hub.
        model: The model as the recipe names it.
        model_folder: Where its weights lie; None for random ones.
        seeds: By what they are for.
        device: Where the run computes.
        precision: Number format of the matrix products.
        kernels: Which kernels a processor uses, in words.
    """
    weights = weights_fingerprint(model_folder) if model_folder else {}
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": _processor_name(),
            "cores": os.cpu_count(),
            "device": device,
            "precision": precision,
            "kernels": kernels,
        },
        "seeds": dict(seeds),
        "model": {"name": model, "sha256": weights},
        "data": {str(path): file_sha256(path) for path in data_files},
        "hub_data": [dict(source) for source in hub_data],
    }


def device_name(device: Any) -> str:
    """A torch device with the accelerator's name, such as `cuda (NVIDIA H100)`."""
    import torch

    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def require_same_data(folder: RunFolder, data_files: Callable[[], Iterable[Path]]) -> None:
    """Refuse to go on with other data: the position in them is a number of rows.

    Args:
        folder: The run.
        data_files: Finds all local files that the recipe's sources stand for now.

    Raises:
        RunError: A file has changed, has gone or has come since the run began.
    """
    try:
        known: dict[str, str] = json.loads(folder.manifest.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{folder.manifest} cannot be read: {error}",
            "Resuming compares the data with the fingerprints in it.",
            f"Put the file back, or start a new run: attuner train {folder.recipe} output.name=...",
        ) from error
    found = [fault for path, digest in known.items() if (fault := _change(Path(path), digest))]
    if not found:
        new = [path for path in data_files() if str(path) not in known]
        found = [f"{path} is new since the run began." for path in new]
    if found:
        more = len(found) - _MOST_LISTED
        listed = [*found[:_MOST_LISTED], *([f"... and {more} more"] if more > 0 else [])]
        raise RunError(
            "\n".join(listed),
            "A run goes on with the very data that it began with: its place in them is a number.",
            "Put them back as they were (relative paths count from here), or start a new run: "
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
    known = json.loads(folder.manifest.read_text(encoding="utf-8")).get("model", {}).get("sha256")
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


def _processor_name() -> str:
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
