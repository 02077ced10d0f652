"""How a model folder wants to be used: what its weights alone do not say.

It lies in the folder as `attuner.json`; a folder without one is used as its files say.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object

_FILE = "attuner.json"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model was tuned to be given.

    Attributes:
        prefix: Text put before each source text.
        whole_texts: Whether a text is taken as a whole, not line by line.
        max_source_tokens: Longer sources are cut, end token kept; 0 leaves it to the engine.
    """

    prefix: str = ""
    whole_texts: bool = False
    max_source_tokens: int = 0


def read_usage(folder: Path) -> Usage:
    """What a model folder says of its use.

    Raises:
        ModelError: Its `attuner.json` is broken.
    """
    found = read_json_object(folder / _FILE)
    known = {field.name: type(field.default) for field in fields(Usage)}
    given = {name: value for name, value in found.items() if name in known}
    for name, value in given.items():
        if not isinstance(value, known[name]):
            raise ModelError(
                f"{folder / _FILE}: {name} is {json.dumps(value)}.",
                f"Expected a value such as {json.dumps(getattr(Usage(), name))}.",
                "Copy the file again from the run that made the model, or delete it.",
            )
    return Usage(**given)


def write_usage(folder: Path, usage: Usage) -> None:
    """Write how the model in a folder wants to be used."""
    text = json.dumps(asdict(usage), indent=2, ensure_ascii=False)
    (folder / _FILE).write_text(f"{text}\n", encoding="utf-8")
