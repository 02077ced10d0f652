"""Real data, where it is there: the JupyterLab catalogs, and the folder shared between projects."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from attuner.data.reading import find_files, read_units
from attuner.data.units import Unit

SHARED = Path(__file__).parents[2] / "../shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data beside this clone")


def read(path: str, skipped: Counter[str]) -> list[Unit]:
    return list(read_units(path, source_language="en", target_language="fr", skipped=skipped))


@pytest.mark.skipif(
    importlib.util.find_spec("jupyterlab_language_pack_fr_FR") is None,
    reason="the demo extra is not installed",
)
def test_jupyterlab_catalogs() -> None:
    skipped: Counter[str] = Counter()
    units = read("package:jupyterlab-language-pack-fr-FR", skipped)
    files = find_files("package:jupyterlab-language-pack-fr-FR")
    assert {file.suffix for file in files} == {".mo"}
    assert len({unit.address.catalog for unit in units}) == len(files)
    assert len(units) > 3000
    assert {unit.state for unit in units} == {"translated"}
    assert not skipped
    assert units == read("package:jupyterlab_language_pack_fr_FR", Counter())


@needs_shared
def test_kde_strings() -> None:
    skipped: Counter[str] = Counter()
    units = read(str(SHARED / "kde-en-fr.jsonl.gz"), skipped)
    assert len(units) == 137_368
    assert len({unit.address.catalog for unit in units}) == 1_037
    assert not skipped


@needs_shared
def test_captions_in_a_folder() -> None:
    assert len(read(str(SHARED / "multi30k-en-fr"), Counter())) == 29_000 + 1_014
