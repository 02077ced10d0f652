"""How a classifier's folder is used: the columns and the length that it was tuned on.

They stand in `attuner.json`; what the labels mean is in config.json, where all libraries look.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object
from attuner.models.usage import FILE


@dataclass(frozen=True, slots=True)
class LabelUsage:
    """What `attuner.json` says of a classifier.

    Attributes:
        text: Column of the texts.
        text_pair: Column of the second texts; "" where it is not one of pairs.
        label: Column of the labels.
        separator: What stands between several labels in one text.
        max_tokens: Longer texts are cut; 0 leaves it to the model.
    """

    text: str = "text"
    text_pair: str = ""
    label: str = "label"
    separator: str = ","
    max_tokens: int = 0


def read_label_usage(folder: Path) -> LabelUsage:
    """What a model folder says of its use; the defaults where it says nothing.

    Raises:
        ModelError: The file is broken.
    """
    values = read_json_object(folder / FILE)
    usual = asdict(LabelUsage())
    known = {name: values[name] for name in usual if name in values}
    for name, value in known.items():
        if type(value) is not type(usual[name]):
            raise ModelError(
                f"{folder / FILE}: {name} is {json.dumps(value)}.",
                f"Expected a value such as {json.dumps(usual[name])}.",
                "Copy the file again from the run that made the model, or delete it.",
            )
    return LabelUsage(**known)


def write_label_usage(usage: LabelUsage, folder: Path) -> None:
    """Note how a model folder is used, in `attuner.json`."""
    text = json.dumps(asdict(usage), indent=2, ensure_ascii=False)
    (folder / FILE).write_text(f"{text}\n", encoding="utf-8")
