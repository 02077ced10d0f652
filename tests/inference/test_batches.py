"""Batches cover all lines once and stay within their size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attuner.inference.batches import batches_by_length, distinct


@given(st.lists(st.integers(1, 50)), st.integers(1, 200))
def test_batches(lengths: list[int], batch_tokens: int) -> None:
    batches = batches_by_length(lengths, batch_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or longest * len(batch) <= batch_tokens


@given(st.lists(st.sampled_from("abc")))
def test_distinct(items: list[str]) -> None:
    firsts, which = distinct(items)
    assert [items[firsts[i]] for i in which] == items
    assert len(firsts) == len(set(items))
