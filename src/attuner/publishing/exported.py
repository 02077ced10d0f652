"""What came of an export: where it lies, and how it compares with its model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attuner.models.fingerprint import weights_fingerprint
from attuner.publishing.measuring import Measured
from attuner.publishing.origin import Origin


@dataclass(frozen=True, slots=True)
class Exported:
    """An export, and how it compares with the model that it was made from.

    Attributes:
        folder: The export.
        format: `ctranslate2`, `onnx` or `transformers`.
        number_format: Of its weights, such as `int8`.
        model: The model, as it was named.
        gives_labels: Whether it classifies.
        num_bytes: Size of the export.
        model_bytes: Size of the model.
        examples: On what both were scored, in words; "" where they were not.
        part: `validation`, `test` or `data`; likewise.
        num_examples: How many.
        num_equal: For how many both gave the same.
        metric: The score that decides.
        margin: By how many points it may fall.
        fall: By how many it fell.
        original: The model on the examples.
        exported: The export on them.
        card: What the model's card says of it, in words.
    """

    folder: Path
    format: str
    number_format: str
    model: str
    gives_labels: bool
    num_bytes: int
    model_bytes: int
    examples: str = ""
    part: str = ""
    num_examples: int = 0
    num_equal: int = 0
    metric: str = ""
    margin: float = 0.0
    fall: float = 0.0
    original: Measured | None = None
    exported: Measured | None = None
    card: str = ""

    @property
    def is_checked(self) -> bool:
        """Whether it was compared with its model."""
        return self.original is not None

    @property
    def is_worse(self) -> bool:
        """Whether its score falls by more than the margin."""
        return not self.fall <= self.margin


def facts_of(made: Exported, origin: Origin) -> dict[str, Any]:
    """What `export.json` says: of which weights it is, and how it compares with its model."""
    said = {name: value for name, value in to_json(made).items() if name != "folder"}
    return {**said, "weights": weights_fingerprint(origin.folder)}


def to_json(made: Exported) -> dict[str, Any]:
    """The export as plain values; what was made of single examples is left out."""
    from attuner.training.manifest import processor_name

    facts: dict[str, Any] = {
        "folder": str(made.folder),
        "format": made.format,
        "number_format": made.number_format,
        "model": made.model,
        "num_bytes": made.num_bytes,
        "model_bytes": made.model_bytes,
        "is_checked": made.is_checked,
    }
    if made.original is None or made.exported is None:
        return facts
    sides = {
        name: {k: v for k, v in asdict(side).items() if k != "outputs"}
        for name, side in (("original", made.original), ("exported", made.exported))
    }
    return facts | {
        "examples": made.examples,
        "part": made.part,
        "num_examples": made.num_examples,
        "num_equal": made.num_equal,
        "metric": made.metric,
        "margin": made.margin,
        "fall": made.fall,
        "is_worse": made.is_worse,
        "machine": processor_name(),
        **sides,
    }
