"""The recipes that come with Attuner: list them, read them, copy one to start from."""

from __future__ import annotations

import os
from pathlib import Path

from attuner.errors import UsageError, nearest

_FOLDER = Path(__file__).parent / "recipes"


def list_recipes() -> dict[str, str]:
    """Names of the ready recipes, and what each says of itself in its first line."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(_FOLDER.glob("*.yaml"), key=lambda path: path.stem)
    }


def ready_recipe(name: str) -> Path:
    """The file of a ready recipe.

    Raises:
        UsageError: There is no recipe of that name.
    """
    known = list_recipes()
    if name not in known:
        raise UsageError(
            f'There is no ready recipe "{name}".',
            nearest(name, known),
            "See what each does: attuner recipes list",
        )
    return _FOLDER / f"{name}.yaml"


def copy_recipe(name: str, destination: Path | None = None) -> Path:
    """Copy a ready recipe to `destination` (a file or folder; `NAME.yaml` where not given).

    Raises:
        UsageError: There is no such recipe, or the destination exists or cannot be written.
    """
    text = ready_recipe(name).read_text(encoding="utf-8")
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
