"""Read the JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attuner.errors import ModelError

# The largest known files of a tokenizer have some 35 MB, for 260,000 pieces.
LONGEST_FILE = 64 * 2**20
REMEDY = "Copy the file again from the checkpoint that the model was made from."


def read_json_object(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds; an empty one where the file is missing.

    Raises:
        ModelError: The file is not JSON in UTF-8, cannot be read, is huge, or holds something else.
    """
    try:
        refuse_huge(file)
        value = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(f"{file}: not readable as JSON: {error}.", remedy=REMEDY) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{file} holds a JSON value of type {type(value).__name__}.",
            "The files of a model folder hold JSON objects, {...}.",
            REMEDY,
        )
    return value


def refuse_huge(file: Path) -> None:
    """Refuse a file that no tokenizer or configuration needs, before it is read into memory.

    Raises:
        ModelError: It is larger than 64 MiB.
        OSError: It cannot be looked at.
    """
    size = file.stat().st_size
    if size > LONGEST_FILE:
        raise ModelError(
            f"{file} has {size} bytes.",
            f"The files beside the weights have up to {LONGEST_FILE // 2**20} MiB each.",
            REMEDY,
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
