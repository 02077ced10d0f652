from __future__ import annotations

from pathlib import Path

import pytest

from attuner.cache_folder import cache_folder


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTUNER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache/attuner"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/attuner")
    monkeypatch.setenv("ATTUNER_CACHE", "/else")
    assert cache_folder() == Path("/else")
