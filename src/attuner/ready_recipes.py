"""The recipes that come with Attuner, and launches of several processes: list them, copy one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attuner.errors import UsageError, nearest

_FOLDER = Path(__file__).parent / "recipes"
_LAUNCHES = _FOLDER / "accelerate"


def list_recipes() -> dict[str, str]:
    """Names of the ready recipes, and what each says of itself in its first line."""
    return _first_lines(_FOLDER)


def list_launches() -> dict[str, str]:
    """Names of the configurations for `accelerate launch`, and what each says of itself."""
    return _first_lines(_LAUNCHES)


def _first_lines(folder: Path) -> dict[str, str]:
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    }


def ready_recipe(name: str) -> Path:
    """The file of a ready recipe.

    Raises:
        UsageError: There is no recipe of that name.
    """
    return _found(name, dict.fromkeys(list_recipes(), _FOLDER))


def _found(name: str, folders: Mapping[str, Path]) -> Path:
    if name not in folders:
        raise UsageError(
            f'There is no ready recipe "{name}".',
            nearest(name, folders),
            "See what each does: attuner recipes list",
        )
    return folders[name] / f"{name}.yaml"


def copy_recipe(name: str, destination: Path | None = None) -> Path:
    """Copy a recipe or launch to `destination` (a file or folder; `NAME.yaml` where not given).

    Raises:
        UsageError: There is no such recipe, or the destination exists or cannot be written.
    """
    recipes, launches = list_recipes(), list_launches()
    folders = dict.fromkeys(recipes, _FOLDER) | dict.fromkeys(launches, _LAUNCHES)
    text = _found(name, folders).read_text(encoding="utf-8")
    destination = destination or Path(f"{name}.yaml")
    if os.path.isdir(destination):
        destination /= f"{name}.yaml"
    try:
        with destination.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(
            f"{destination} exists already.",
            "A copy never overwrites a file.",
            f"Choose another name: attuner recipes copy {name} my-{name}.yaml",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{destination}: {error.strerror}.", "The copy needs a folder that can be written to."
        ) from error
    return destination
