"""Work shared out among processes: each does a part of it, and all get the whole, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


class Sharing(Protocol):
    """Those who share; `training.processes` has them.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int
    count: int

    def gathered(self, value: Any) -> list[Any]:
        """What each process gives, in the order of their numbers; each waits for all."""
        ...


class Alone:
    """One process, which does all."""

    rank = 0
    count = 1

    def gathered(self, value: Any) -> list[Any]:
        """Its own value."""
        return [value]


ALONE = Alone()


def shared(
    items: Sequence[Item],
    do: Callable[[Sequence[Item]], Sequence[Result]],
    sharing: Sharing = ALONE,
) -> list[Result]:
    """What `do` makes of the items, one for each; every item is done by one process, once.

    Neighbours go to different processes: sorted items are shared out evenly.

    >>> shared(["a", "b", "c"], lambda mine: [item.upper() for item in mine])
    ['A', 'B', 'C']
    """
    made = list(do(items[sharing.rank :: sharing.count]))
    results: list[Any] = [None] * len(items)
    for rank, part in enumerate(sharing.gathered(made)):
        results[rank :: sharing.count] = part
    return results


def progress_of_all(progress: Progress | None, sharing: Sharing, total: int) -> Progress | None:
    """Reports of one process's part as if they were of the whole: the others are about as far.

    Args:
        progress: Is told how much of `total` is done.
        sharing: Who shares.
        total: How much there is in all.
    """
    if progress is None or sharing.count == 1:
        return progress
    return lambda done, _: progress(min(done * sharing.count, total), total)
