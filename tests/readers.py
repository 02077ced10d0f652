"""Read a file as English and French, and what is said where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from attuner.data.reading import read_units
from attuner.data.units import Unit
from attuner.errors import UserError


def read(path: Path | str, **options: object) -> list[Unit]:
    languages = {"source_language": "en", "target_language": "fr"}
    return list(read_units(str(path), **{**languages, **options}))  # type: ignore[arg-type]


def error_of(path: Path | str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **options)
    return str(caught.value)
