from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.data.batching import BatchPlan, Update

LENGTHS = np.random.default_rng(0).integers(1, 60, 500)
SOURCES = np.random.default_rng(1).integers(1, 60, 500)


def first_epoch(**options: object) -> list[Update]:
    plan = BatchPlan(LENGTHS, SOURCES, **options)  # type: ignore[arg-type]
    updates = []
    for update in plan:
        updates.append(update)
        if update.epoch == 1:
            return updates
    raise AssertionError("a plan never ends")


@pytest.mark.parametrize("size", [{"batch_tokens": 300}, {"batch_examples": 32}])
def test_an_epoch_sees_every_row_once(size: dict[str, int]) -> None:
    updates = first_epoch(**size)

    seen = np.concatenate([update.rows for update in updates])
    assert sorted(seen) == list(range(500))
    for update in updates:
        cut = np.concatenate(update.micro_batches)
        assert sorted(cut) == sorted(update.rows)
        assert update.num_target_tokens == LENGTHS[update.rows].sum()


def test_updates_hold_as_many_target_tokens_as_asked() -> None:
    tokens = [update.num_target_tokens for update in first_epoch(batch_tokens=300)]

    # A row is never cut: an update may miss or exceed the number by less than one row.
    assert all(abs(n - 300) < LENGTHS.max() for n in tokens[:-1])
    assert tokens[-1] <= 300 + LENGTHS.max()


def test_a_last_update_of_examples_is_kept_though_it_is_small() -> None:
    assert [len(u.rows) for u in first_epoch(batch_examples=32)] == [32] * 15 + [20]


def test_epochs_differ_and_seeds_repeat() -> None:
    def orders(seed: int) -> list[list[int]]:
        plan = BatchPlan(LENGTHS, SOURCES, batch_examples=100, seed=seed)
        updates = iter(plan)
        return [next(updates).rows.tolist() for _ in range(10)]

    assert orders(7) == orders(7)
    assert orders(7) != orders(8)
    assert orders(7)[:5] != orders(7)[5:]


def test_a_restored_plan_goes_on_with_the_very_next_update() -> None:
    plan = BatchPlan(LENGTHS, SOURCES, batch_tokens=300, seed=3)
    updates = iter(plan)
    for _ in range(60):  # into the second epoch
        next(updates)
    state = plan.state()
    expected = [next(updates) for _ in range(60)]

    restored = BatchPlan(LENGTHS, SOURCES, batch_tokens=300, seed=3)
    restored.restore(state)
    for update, wanted in zip(restored, expected, strict=False):
        assert update.epoch == wanted.epoch
        assert np.array_equal(update.rows, wanted.rows)


@pytest.mark.parametrize("padded", [None, 200])
@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_an_update_without_overlap(num_processes: int, padded: int | None) -> None:
    plans = [
        BatchPlan(
            LENGTHS,
            SOURCES,
            batch_tokens=300,
            accumulation=2,
            max_padded_tokens=padded,
            rank=rank,
            num_processes=num_processes,
        )
        for rank in range(num_processes)
    ]
    for updates, _ in zip(zip(*plans, strict=False), range(40), strict=False):
        shares = [np.concatenate(update.micro_batches) for update in updates]
        assert sorted(np.concatenate(shares)) == sorted(updates[0].rows)
        # Else one process would wait for the others' gradients for ever.
        assert len({len(update.micro_batches) for update in updates}) == 1


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(90, 400))
def test_no_padded_micro_batch_is_larger_than_allowed(lengths: list[int], most: int) -> None:
    plan = BatchPlan(np.array(lengths), np.array(lengths), batch_tokens=500, max_padded_tokens=most)
    for update in plan:
        for rows in update.micro_batches:
            assert len(rows) * max(lengths[row] for row in rows) <= most
        if update.epoch >= 1:
            return


def test_weights_say_how_often_a_row_is_seen() -> None:
    weights = np.repeat([0.5, 1.0, 2.0], [200, 200, 100])
    rows = np.concatenate([u.rows for u in first_epoch(batch_tokens=300, weights=weights)])
    seen = np.bincount(rows, minlength=500)

    assert 70 <= seen[:200].sum() <= 130
    assert (seen[200:400] == 1).all()
    assert (seen[400:] == 2).all()


def test_the_number_of_updates_is_that_of_the_epochs() -> None:
    plan = BatchPlan(LENGTHS, SOURCES, batch_examples=32)

    assert plan.num_updates(3) == 48
    assert plan.num_updates(0.5) == 8
    assert plan.num_updates(0.001) == 1


def test_small_weights_never_make_an_empty_update() -> None:
    plan = BatchPlan(np.array([3, 4]), np.array([3, 4]), weights=np.full(2, 0.01), batch_tokens=8)
    updates = [update for update, _ in zip(plan, range(50), strict=False)]

    assert all(len(update.rows) == 1 for update in updates)
    assert all(update.num_target_tokens > 0 for update in updates)
    assert {int(update.rows[0]) for update in updates} == {0, 1}


def test_a_plan_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="a plan needs rows"):
        BatchPlan(np.array([], np.int64), np.array([], np.int64), batch_tokens=8)


@pytest.mark.parametrize("updates", [1, 8, 16, 24, 47, 48])
def test_epochs_are_counted_as_the_updates_have_them(updates: int) -> None:
    plan = BatchPlan(LENGTHS, SOURCES, batch_examples=32)
    reached = [update.epoch for update, _ in zip(plan, range(updates), strict=False)]

    assert plan.num_epochs(updates) == pytest.approx(reached[-1])


def test_tokens_of_an_update_can_be_counted_otherwise_than_its_targets() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 200)
    ones = np.ones(200, np.int64)
    plan = BatchPlan(ones, lengths, batch_tokens=100, budget=lengths, seed=1)
    updates = list(islice(plan, plan.num_updates(1)))
    assert sum(update.num_target_tokens for update in updates) == 200
    assert all(update.num_target_tokens == len(update.rows) for update in updates)
    assert all(70 < lengths[update.rows].sum() < 130 for update in updates[:-1])
