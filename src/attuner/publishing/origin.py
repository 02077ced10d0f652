"""The model that is exported: where it lies, and what belongs to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from attuner.data.labels import LabelSet
from attuner.models.adapter_folder import base_folder
from attuner.models.classifiers import labels_of
from attuner.models.exports import refuse_export
from attuner.models.loading import TOKENIZER_FILES, model_type, resolve_model
from attuner.models.usage import FILE as USAGE

# What each engine reads of generation beside the weights.
_GENERATION = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """A model to export.

    Attributes:
        name: As it was named.
        folder: Its folder, or that of an adapter.
        whole: Where the whole model lies; of an adapter, its base.
        labels: Of a classifier; None for a model that writes text.
    """

    name: str
    folder: Path
    whole: Path
    labels: LabelSet | None

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter is to be exported, alone or merged into its base."""
        return self.whole != self.folder

    @property
    def family(self) -> str:
        """As the configuration names it, such as `marian`."""
        return model_type(self.whole)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files lie."""
        return (self.whole, self.folder) if self.is_adapter else (self.folder,)


def find_origin(name: str) -> Origin:
    """Find the model that a name means.

    Raises:
        ModelError: There is none, it is an export itself, or it has no safe weights.
    """
    folder = resolve_model(name)
    refuse_export(folder)
    whole = base_folder(folder) or folder
    return Origin(name, folder, whole, labels_of(whole))


def copy_around(origin: Origin, folder: Path) -> None:
    """Copy what stands around the weights, as far as it is not there: tokenizer, settings, use."""
    for place in reversed(origin.folders):  # an adapter's own come before its base's
        for pattern in (*TOKENIZER_FILES, _GENERATION, USAGE):
            for path in sorted(place.glob(pattern)):
                if not (folder / path.name).exists():
                    shutil.copyfile(path, folder / path.name)
