"""The kernels are built once, and nothing fails where they cannot be."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from attuner.kernels import build, describe, native


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTUNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/kernels"


@pytest.fixture
def compiler() -> str:
    found = build._compiler()
    if found is None or build._openmp_of_torch() is None:
        pytest.skip("no C++ compiler for the kernels here")
    return found


@pytest.mark.usefixtures("compiler")
def test_the_second_use_finds_the_first_ones_library(own_cache: Path) -> None:
    assert build.load_library() is not None
    (library,) = own_cache.iterdir()
    built = library.stat().st_mtime_ns
    assert build.load_library() is not None

    assert [path.stat().st_mtime_ns for path in own_cache.iterdir()] == [built]


def test_without_a_compiler_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)

    assert build.load_library() is None


@pytest.mark.usefixtures("compiler")
def test_a_compiler_that_fails_is_logged_and_leaves_nothing(
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no OpenMP here >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with caplog.at_level(logging.INFO, "attuner"):
        assert build.load_library() is None

    assert caplog.messages == [f"The kernels cannot be built here: {broken}: no OpenMP here\n"]
    assert list(own_cache.iterdir()) == []


@pytest.mark.usefixtures("compiler")
def test_a_damaged_library_is_built_anew(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.load_library()
    (library,) = own_cache.iterdir()
    monkeypatch.setenv("ATTUNER_CACHE", str(tmp_path / "other"))  # one that is not loaded yet
    damaged = tmp_path / "other/kernels" / library.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(library.read_bytes()[:1000])

    assert build.load_library() is not None
    assert damaged.stat().st_size == library.stat().st_size


def test_the_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    native.cache_clear()
    monkeypatch.setenv("ATTUNER_KERNELS", "none")

    assert native() is None
    native.cache_clear()


def test_runs_say_which_kernels_they_use(monkeypatch: pytest.MonkeyPatch) -> None:
    native.cache_clear()
    monkeypatch.setenv("ATTUNER_KERNELS", "none")
    assert describe("cpu") == "torch's kernels (ATTUNER_KERNELS=none)"
    monkeypatch.delenv("ATTUNER_KERNELS")
    monkeypatch.setattr(build, "_compiler", lambda: None)
    native.cache_clear()
    assert describe("cpu") == "torch's kernels (no C++ compiler that builds ours)"
    assert describe("cuda") == ""
    native.cache_clear()
