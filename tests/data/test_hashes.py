"""Sets of hashes against those of Python, and hashes that are the same in every process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attuner.data.hashes import HashSet, hash_of

HASHES = st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1), st.sampled_from([1024, 2048]))


@given(st.lists(HASHES, max_size=60), st.lists(HASHES, max_size=20))
def test_as_a_set_of_python(values: list[int], others: list[int]) -> None:
    values = [value or 1 for value in values]  # 0 counts as 1
    known: set[int] = set()
    table = HashSet()
    for value in values:
        assert table.add(value) == (value not in known)
        known.add(value)
    assert len(table) == len(known)
    assert all((other in table) == ((other or 1) in known) for other in others)


def test_it_grows() -> None:
    table = HashSet(hash_of(str(number)) for number in range(20_000))
    assert len(table) == 20_000
    assert all(hash_of(str(number)) in table for number in range(0, 20_000, 7))
    assert not any(hash_of(f"no {number}") in table for number in range(2_000))


def test_hashes_are_what_they_were() -> None:
    # BLAKE2b with 8 bytes: a division of today is that of tomorrow.
    assert hash_of("20 open the file") == 0x478AB308AB2B919B
    assert hash_of("a", "b") != hash_of("b", "a") != hash_of("ab")
    assert hash_of("\ud800") != hash_of("")
