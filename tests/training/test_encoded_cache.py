"""Token ids are kept, found again, made again when damaged, and never in the way of a run."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attuner.data.features import SequencePairs, TokenColumn
from attuner.tasks.translation import Encoded, concatenated
from attuner.training import encoded_cache
from attuner.training.encoded_cache import cached, encoded_key, on_disk

PAIRS = [("Open", "Ouvrir", 0), ("", "\ud800", 1)]
OPTIONS: dict[str, Any] = {
    "tokenizer": "abc",
    "weights": [1.0, 2.0],
    "max_source_tokens": 8,
    "max_target_tokens": 9,
    "too_long": "cut",
}
ENCODED = Encoded(
    SequencePairs(
        TokenColumn.from_lists([[5, 6, 0], [], [7]]),
        TokenColumn.from_lists([[8], [9, 10, 0], [0]]),
        np.array([0, 1, 1]),
        np.array([1.0, 0.5, 0.5]),
    ),
    {"source cut": 3},
)


def make() -> list[Encoded]:
    return [ENCODED]


def never() -> list[Encoded]:
    raise AssertionError("made again")


def counted() -> tuple[list[None], Callable[[], list[Encoded]]]:
    calls: list[None] = []

    def counting() -> list[Encoded]:
        calls.append(None)
        return [ENCODED]

    return calls, counting


def assert_equal(ours: Encoded, theirs: Encoded) -> None:
    assert ours.counts == theirs.counts
    for ours_array, theirs_array in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_array_equal(ours_array, theirs_array)
        assert ours_array.dtype == theirs_array.dtype


def arrays(encoded: Encoded) -> list[np.ndarray]:
    f = encoded.features
    columns = [f.source.values, f.source.offsets, f.target.values, f.target.offsets]
    return [*columns, f.example, f.weight]


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "encoded").iterdir())


def test_what_was_made_is_found_again(cache: Path) -> None:
    assert_equal(cached("one", make), ENCODED)
    assert_equal(cached("one", never), ENCODED)
    nothing = Encoded(
        SequencePairs(
            TokenColumn.concatenate([]), TokenColumn.concatenate([]), np.zeros(0, int), np.zeros(0)
        ),
        {},
    )
    cached("two", lambda: [nothing])
    assert_equal(cached("two", never), nothing)
    assert [path.name for path in entries(cache)] == ["one.arrays", "two.arrays"]


@pytest.mark.parametrize(
    "keep", [lambda make: cached("key", make), lambda make: Encoded(*on_disk(make()))]
)
def test_pieces_come_back_as_one(cache: Path, keep: Callable[[Any], Encoded]) -> None:
    def pieces() -> Iterator[Encoded]:
        for _ in range(3):
            yield ENCODED

    made = keep(pieces)
    whole = concatenated([ENCODED] * 3)
    assert_equal(made, whole)
    assert made.features.source.to_lists() == [[5, 6, 0], [], [7]] * 3
    rows = np.array([4, 0, 8])
    for ours, theirs in zip(
        made.features.target.take(rows), whole.features.target.take(rows), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="read-only"):
        made.features.weight[0] = 2


def test_without_a_cache_nothing_is_left(cache: Path) -> None:
    assert_equal(Encoded(*on_disk(make())), ENCODED)
    assert list(cache.iterdir()) == []


def test_the_key_follows_all_that_ids_depend_on() -> None:
    keys = {encoded_key(PAIRS, **OPTIONS)}
    assert {encoded_key(list(PAIRS), **OPTIONS)} == keys
    others = {
        "tokenizer": "abd",
        "weights": [1.0, 1.0],
        "max_source_tokens": 9,
        "max_target_tokens": 8,
        "too_long": "skip",
    }
    for name, value in others.items():
        keys.add(encoded_key(PAIRS, **{**OPTIONS, name: value}))
    for pairs in (
        [("Close", "Ouvrir", 0), PAIRS[1]],
        [("Ope", "nOuvrir", 0), PAIRS[1]],
        [("Ope", "Ouvrir", 0), ("n", "\ud800", 1)],
        [("Open", "Ouvrir", 1), PAIRS[1]],
        PAIRS[::-1],
        PAIRS[:1],
        [],
    ):
        keys.add(encoded_key(pairs, **OPTIONS))
    assert len(keys) == 1 + len(others) + 7


def test_a_damaged_entry_is_made_again(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="attuner")
    cached("key", make)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    middle = len(whole) // 2
    damages = [whole[:n] for n in (0, 1, 64, middle, len(whole) - 1)]
    damages += [
        whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(0, len(whole), 97)
    ]
    for content in damages:
        entry.write_bytes(content)
        calls, counting = counted()
        assert_equal(cached("key", counting), ENCODED)
        assert len(calls) == 1
        assert entry.read_bytes() == whole
    assert f"the cached token ids {entry} are damaged and made again" in caplog.text
    assert entries(cache) == [entry]


def test_what_is_read_survives_its_deletion(cache: Path) -> None:
    cached("key", make)
    found = cached("key", never)
    entries(cache)[0].unlink()
    assert_equal(found, ENCODED)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.mkdir(mode=0o500)
    assert_equal(cached("key", make), ENCODED)


def test_a_file_in_place_of_the_folder_is_done_without(cache: Path) -> None:
    cache.write_text("not a folder")
    assert_equal(cached("key", make), ENCODED)


def test_a_folder_in_place_of_the_entry_is_done_without(cache: Path) -> None:
    (cache / "encoded" / "key.arrays").mkdir(parents=True)
    assert_equal(cached("key", make), ENCODED)


@pytest.mark.parametrize("function", ["fdopen", "replace"])
def test_a_full_disk_is_done_without(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    function: str,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    caplog.set_level(logging.INFO, logger="attuner")
    monkeypatch.setattr(f"attuner.training.encoded_cache.os.{function}", full)
    assert_equal(cached("key", make), ENCODED)
    assert entries(cache) == []
    assert "the cache folder cannot be written, each run will encode: [Errno 28]" in caplog.text


def test_what_was_used_longest_ago_makes_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, key in enumerate(("c", "b", "a")):
        cached(key, make)
        os.utime(cache / f"encoded/{key}.arrays", (1000 + age, 1000 + age))
    (cache / "encoded/.new-left").write_bytes(b"by a run that was killed")
    os.utime(cache / "encoded/.new-left", (999, 999))
    cached("c", never)  # the oldest, but used now
    size = entries(cache)[-1].stat().st_size
    monkeypatch.setattr(encoded_cache, "MOST_BYTES", 3 * size)
    cached("d", make)
    assert [path.stem for path in entries(cache)] == ["a", "c", "d"]
