"""From features to updates: how much goes into one, and how far padding may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attuner.data.batching import BatchPlan
from attuner.training.processes import ALONE, Processes

if TYPE_CHECKING:
    from attuner.data.features import Features

# Tokens of an update where nothing is said.
DEFAULT_BATCH_TOKENS = 2048
# Where batches are padded: the most positions of one micro-batch, for memory's sake.
MAX_PADDED_TOKENS = 2048


def plan_updates(
    features: Features,
    *,
    is_cut: bool,
    batch_tokens: int | None = None,
    batch_examples: int | None = None,
    accumulation: int = 1,
    seed: int = 42,
    processes: Processes = ALONE,
) -> BatchPlan:
    """The order of updates; each process has its share of each.

    Args:
        features: What is learned from.
        is_cut: Whether micro-batches are cut where padding would make them too large.
        batch_tokens: Real target tokens of one update, over all processes; of labelled texts their
            own tokens. 2048 where `batch_examples` is not given either.
        batch_examples: Instead of that: examples of one update, over all processes.
        accumulation: Micro-batches that a process's share is cut into; the result is the same.
        seed: Seed of the order.
        processes: Who shares the updates.
    """
    if batch_tokens is None and batch_examples is None:
        batch_tokens = DEFAULT_BATCH_TOKENS
    return BatchPlan(
        features.target_lengths,
        features.source_lengths,
        budget=features.sizes,
        weights=None if (features.weight == 1).all() else features.weight,
        batch_tokens=batch_tokens,
        batch_examples=batch_examples,
        accumulation=accumulation,
        max_padded_tokens=MAX_PADDED_TOKENS if is_cut else None,
        seed=seed,
        rank=processes.rank,
        num_processes=processes.count,
    )
