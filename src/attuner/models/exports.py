"""Exports: folders of a model in a format of another runtime, marked by their `export.json`.

They hold the tokenizer and all that Attuner needs to use them, but no weights that transformers
loads: what trains or converts a model refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object

FILE = "export.json"
TITLES = {"ctranslate2": "CTranslate2", "onnx": "ONNX"}
_WEIGHTS = {"ctranslate2": "model.bin", "onnx": "model.onnx"}


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """What an export is.

    Attributes:
        name: `ctranslate2` or `onnx`.
        number_format: Of its weights, such as `int8`.
    """

    name: str
    number_format: str

    @property
    def title(self) -> str:
        """The format as people call it."""
        return TITLES[self.name]


def export_format(folder: Path) -> ExportFormat | None:
    """The format of an export for another runtime; None where a folder is a model's own.

    An export for transformers is a model folder as any other.

    Raises:
        ModelError: Its `export.json` is broken, or its weights are missing.
    """
    values = read_json_object(folder / FILE)
    name = values.get("format")
    if name not in TITLES:
        return None
    found = ExportFormat(str(name), str(values.get("number_format", "float32")))
    if not (folder / _WEIGHTS[found.name]).is_file():
        raise ModelError(
            f"{folder} has no {_WEIGHTS[found.name]}.",
            f"It is an export for {found.title}, whose weights are in that file.",
            "Copy the folder again, or export the model again.",
        )
    return found


def refuse_export(folder: Path) -> None:
    """Refuse an export where a model's own weights are needed.

    Raises:
        ModelError: The folder is an export for another runtime.
    """
    found = export_format(folder)
    if found is None:
        return
    made_of: Any = read_json_object(folder / FILE).get("model")
    raise ModelError(
        f"{folder} is an export for {found.title}: it can be used, not trained or converted.",
        "Expected a model folder, with weights as transformers has them.",
        f"Name the model that it was made from{f': {made_of}' if made_of else ''}.",
    )
