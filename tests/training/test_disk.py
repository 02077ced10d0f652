"""A disk that is full, or that cannot be written, while a run goes on."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lessons import Tune

from attuner.errors import RunError
from attuner.recipe import Recipe
from attuner.training import checkpoint_folder
from attuner.training.disk import disk_faults, size
from attuner.training.events import Event, Planned, Saved
from attuner.training.folder import RunFolder, write_text
from attuner.training.run import resume, train

_EXPECTED = "A run writes its checkpoints, scores and model while it goes.\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=8m") != 0:
        pytest.skip(f"a file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file:
        for amount in (1 << 20, 1 << 12, 1):
            while True:
                try:
                    file.write(b"\0" * amount)
                except OSError:
                    break


@pytest.mark.parametrize("event", [Planned, Saved])
def test_a_disk_that_fills_up_says_so_and_how_to_go_on(
    lesson_recipe: Callable[..., Recipe], small_disk: Path, event: type[Event]
) -> None:
    recipe = lesson_recipe(f"output.folder={small_disk}")

    def listen(happened: Event) -> None:
        if isinstance(happened, event):
            fill(small_disk)

    with pytest.raises(RunError) as caught:
        train(recipe, listeners=[listen])

    folder = small_disk / "test"
    remedy = (
        "Mend that, then start the run again: no checkpoint was written yet."
        if event is Planned
        else f"Mend that, then go on with: attuner train --resume {folder}"
    )
    assert str(caught.value) == f"{folder}: the disk is full.\n{_EXPECTED}{remedy}"
    assert folder.exists() == (event is not Planned)
    (small_disk / "ballast").unlink()
    if event is not Planned:
        assert resume(folder).model_folder.is_dir()


def test_a_save_that_the_disk_breaks_off_leaves_the_last_checkpoint_whole(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands in for the small disk where none can be mounted: the second save is broken off amid.
    whole, _ = tune("output.name=whole")
    inner, calls = checkpoint_folder.seal, [0]

    def seal(checkpoint: Path) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(checkpoint / "files.json"))
        inner(checkpoint)

    monkeypatch.setattr(checkpoint_folder, "seal", seal)
    with pytest.raises(RunError) as caught:
        tune()

    folder = tmp_path / "runs/test"
    assert caught.value.happened == f"{folder}: the disk is full."
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000003"]
    assert resume(folder).after == whole.after


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only, for root, too: mounts it on itself, without writing."""
    libc = ctypes.CDLL(None, use_errno=True)
    bind, remount, no_writing = 4096, 32, 1
    mounted = []

    def make(folder: Path) -> None:
        place = os.fsencode(folder)
        for flags in (bind, bind | remount | no_writing):
            if libc.mount(place, place, None, flags, None) != 0:
                pytest.skip(f"it cannot be mounted here: {os.strerror(ctypes.get_errno())}")
            mounted.append(place)

    yield make
    for place in mounted[:1]:
        libc.umount2(place, 2)


def test_a_checkpoint_folder_that_becomes_read_only_stops_a_run_with_words(
    tune: Tune, read_only: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "runs/test"

    def listen(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 3:
            read_only(folder / "checkpoints")

    with pytest.raises(RunError) as caught:
        tune(listeners=[listen])

    assert str(caught.value) == (
        f"{folder} cannot be written: Read-only file system.\n{_EXPECTED}"
        f"Mend that, then go on with: attuner train --resume {folder}"
    )
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000003"]


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_may_not_grow_stops_a_run_with_words(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught, largest_file(50_000):
        tune("training.evaluate=none")

    assert str(caught.value) == (
        f"{tmp_path}/runs/test cannot be written: File too large.\n{_EXPECTED}"
        "Mend that, then start the run again: no checkpoint was written yet."
    )


def test_what_tempfile_names_in_full_is_the_run_s_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("runs/test"))
    with pytest.raises(RunError) as caught, disk_faults(folder):
        write_text(folder.manifest, "{}")  # the folder was deleted while the run went on

    assert str(caught.value) == (
        f"runs/test cannot be written: No such file or directory.\n{_EXPECTED}"
        "Mend that, then start the run again: no checkpoint was written yet."
    )


def test_what_is_not_the_disk_s_fault_passes(tmp_path: Path) -> None:
    other = FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/data.po")
    for error in (BrokenPipeError(), other, ValueError("a bug")):
        with pytest.raises(type(error)) as caught, disk_faults(RunFolder(tmp_path)):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [
        (1_000, "0.001 MB"),
        (1_860_000, "1.86 MB"),
        (340_000_000, "340 MB"),
        (3_200_000_000, "3.2 GB"),
    ],
)
def test_sizes_in_words(num_bytes: int, words: str) -> None:
    assert size(num_bytes) == words
