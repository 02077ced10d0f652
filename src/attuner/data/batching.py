"""The batch plan: which examples make which update, in which order, on which process.

A plan makes whole updates first and cuts them afterwards, into processes and micro-batches.
So the number of target tokens of an update is known before its first backward pass, and an
update is the same whatever it is cut into. Its state is two numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attuner.data.features import Ints


@dataclass(frozen=True, slots=True)
class Update:
    """The examples of one optimizer update.

    Attributes:
        epoch: Passes over the data when the update is done, fractional.
        rows: Rows of the features, over all processes.
        num_target_tokens: Real target tokens of `rows`, over all processes.
        micro_batches: The rows of this process, cut into micro-batches. Every process has as
            many; one that has no rows left holds an empty one.

    >>> plan = BatchPlan(np.array([3, 2, 4]), np.array([3, 2, 4]), batch_examples=2)
    >>> [(len(update.rows), update.epoch) for update, _ in zip(plan, range(2))]
    [(2, 0.5), (1, 1.0)]
    """

    epoch: float
    rows: Ints
    num_target_tokens: int
    micro_batches: tuple[Ints, ...]


class BatchPlan:
    """A seeded order of updates that can be saved and resumed at any update.

    Args:
        target_lengths: Target tokens of each row.
        source_lengths: Source tokens of each row.
        weights: How often each row is seen in an epoch; 1 where None.
        batch_tokens: Real target tokens of one update, or
        batch_examples: examples of one update.
        budget: What `batch_tokens` counts of each row instead of its target tokens, such as the
            tokens of a text whose one target is its label.
        accumulation: Micro-batches that a process's share of an update is cut into.
        max_padded_tokens: Where batches are padded: cut further, so that no micro-batch has more
            source or target positions than this.
        seed: Seed of the order.
        rank: Number of this process.
        num_processes: Number of processes that share each update.

    >>> lengths = np.array([5, 2, 4, 3, 6, 2])
    >>> plan = BatchPlan(lengths, lengths, batch_tokens=8)
    >>> plan.num_updates(epochs=1)
    3
    >>> first = next(iter(plan))
    >>> int(lengths[first.rows].sum()) - first.num_target_tokens, plan.state()
    (0, {'epoch': 0, 'position': 1})
    >>> again = BatchPlan(lengths, lengths, batch_tokens=8)
    >>> again.restore(plan.state())
    >>> next(iter(again)).rows.tolist() == next(iter(plan)).rows.tolist()
    True
    """

    def __init__(
        self,
        target_lengths: Ints,
        source_lengths: Ints,
        *,
        weights: np.ndarray | None = None,
        batch_tokens: int | None = None,
        batch_examples: int | None = None,
        budget: Ints | None = None,
        accumulation: int = 1,
        max_padded_tokens: int | None = None,
        seed: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        if (batch_tokens is None) == (batch_examples is None):
            raise ValueError("give either batch_tokens or batch_examples")
        if not len(target_lengths):
            raise ValueError("a plan needs rows")
        # Of millions of rows: four bytes for each number.
        self._targets = target_lengths.astype(np.int32)
        self._budget = self._targets if budget is None else budget.astype(np.int32)
        self._lengths = np.maximum(target_lengths, source_lengths, dtype=np.int32, casting="unsafe")
        self._weights = weights
        self._batch_tokens = batch_tokens
        self._batch_examples = batch_examples
        self._accumulation = accumulation
        self._max_padded_tokens = max_padded_tokens
        self._seed = seed
        self._rank = rank
        self._num_processes = num_processes
        self._epoch = 0
        self._position = 0

    def state(self) -> dict[str, int]:
        """Where the plan stands; `restore` goes on from there."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from `state`."""
        self._epoch, self._position = state["epoch"], state["position"]

    def num_updates(self, epochs: float) -> int:
        """Updates in so many epochs, at least one."""
        whole = int(epochs)
        total = sum(len(self._updates(epoch)) for epoch in range(whole))
        rest = epochs - whole
        if rest:
            total += round(rest * len(self._updates(whole)))
        return max(total, 1)

    def num_epochs(self, updates: int) -> float:
        """Epochs in so many updates: the inverse of `num_updates`."""
        epoch = 0
        while updates > (length := len(self._updates(epoch))):
            updates -= length
            epoch += 1
        return epoch + updates / length

    def __iter__(self) -> Iterator[Update]:
        """Updates without end, epoch after epoch; the state moves on before each is handed out."""
        while True:
            updates = self._updates(self._epoch)
            while self._position < len(updates):
                rows = updates[self._position]
                self._position += 1
                yield Update(
                    epoch=self._epoch + self._position / len(updates),
                    rows=rows,
                    num_target_tokens=int(self._targets[rows].sum()),
                    micro_batches=self._cut(rows),
                )
            self._epoch, self._position = self._epoch + 1, 0

    def _updates(self, epoch: int) -> list[Ints]:
        """The rows of each update of an epoch."""
        random = np.random.default_rng((self._seed, epoch))
        rows = np.arange(len(self._targets))
        if self._weights is not None:
            repeats = np.floor(self._weights + random.random(len(rows))).astype(np.int64)
            if not repeats.any():  # small weights; an update needs a row
                repeats[random.choice(len(rows), p=self._weights / self._weights.sum())] = 1
            rows = np.repeat(rows, repeats)
        random.shuffle(rows)
        if self._batch_examples is not None:
            cuts = np.arange(self._batch_examples, len(rows), self._batch_examples)
        else:
            assert self._batch_tokens is not None
            last_token = self._budget[rows].cumsum() - 1
            cuts = np.flatnonzero(np.diff(last_token // self._batch_tokens)) + 1
        return np.split(rows, cuts)

    def _cut(self, rows: Ints) -> tuple[Ints, ...]:
        """This process's share of an update, as micro-batches with like lengths side by side."""
        ordered = rows[np.argsort(self._lengths[rows], kind="stable")]
        shares = [ordered[rank :: self._num_processes] for rank in range(self._num_processes)]
        if self._max_padded_tokens is None:
            mine = shares[self._rank]
            return tuple(mine[part :: self._accumulation] for part in range(self._accumulation))
        cut = [self._cut_padded(share) for share in shares]
        most = max(len(micro_batches) for micro_batches in cut)
        empty = (ordered[:0],)
        return tuple(cut[self._rank] + empty * (most - len(cut[self._rank])))

    def _cut_padded(self, share: Ints) -> tuple[Ints, ...]:
        """Cut rows sorted by length where the next would make a padded batch too large."""
        assert self._max_padded_tokens is not None
        at_most = -(-len(share) // self._accumulation)
        parts: list[Ints] = []
        start = 0
        for end in range(1, len(share) + 1):
            rows = end - start + 1
            full = end == len(share) or (
                rows > at_most or rows * self._lengths[share[end]] > self._max_padded_tokens
            )
            if full:
                parts.append(share[start:end])
                start = end
        return tuple(parts) or (share,)
