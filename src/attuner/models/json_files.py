"""Read the JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attuner.errors import ModelError

_REMEDY = "Copy the file again from the checkpoint that the model was made from."


def read_json_object(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds; an empty one where the file is missing.

    Raises:
        ModelError: The file is not JSON in UTF-8, cannot be read, or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(f"{file}: not readable as JSON: {error}.", remedy=_REMEDY) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{file} holds a JSON value of type {type(value).__name__}.",
            "The files of a model folder hold JSON objects, {...}.",
            _REMEDY,
        )
    return value
