"""Which lines are generated together: equal ones once, alike lengths side by side."""

from __future__ import annotations

from collections.abc import Sequence

from attuner.models.codec import TextCodec


def distinct(items: Sequence[object]) -> tuple[list[int], list[int]]:
    """The first place of each distinct item, and for each item which of those it equals.

    >>> distinct(["a", "b", "a"])
    ([0, 1], [0, 1, 0])
    """
    seen: dict[object, int] = {}
    firsts: list[int] = []
    which: list[int] = []
    for place, item in enumerate(items):
        if item not in seen:
            seen[item] = len(firsts)
            firsts.append(place)
        which.append(seen[item])
    return firsts, which


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Places grouped so that longest x number stays within `batch_tokens`, longest first.

    A single item longer than `batch_tokens` is a batch of its own.

    >>> batches_by_length([1, 5, 2, 5], batch_tokens=10)
    [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def target_starts(
    codec: TextCodec, prefixes: Sequence[str], forced_bos_token_id: int | None
) -> list[list[int]]:
    """Target ids that each result begins with: its language, then the prefix."""
    starts = []
    for ids in codec.encode_target(prefixes).to_lists():
        start = [i for i in ids if i != codec.eos_token_id]
        if forced_bos_token_id is not None and start[:1] != [forced_bos_token_id]:
            start.insert(0, forced_bos_token_id)
        starts.append(start)
    return starts
