"""Which lines are generated together: equal ones once, alike lengths side by side."""

from __future__ import annotations

from collections.abc import Sequence

from attuner.inference.settings import GenerationSettings
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
    codec: TextCodec, prefixes: Sequence[str], settings: GenerationSettings
) -> list[list[int]]:
    """Target ids that each result begins with: its language, then the prefix."""
    forced = codec.forced_bos_token_id
    if forced is None:
        forced = settings.forced_bos_token_id
    # Where there is no prefix, the model chooses what nothing forces: BART's `<s>`, too.
    given = [place for place, prefix in enumerate(prefixes) if prefix]
    encoded = codec.encode_target([prefixes[place] for place in given]).to_lists()
    starts: list[list[int]] = [[] for _ in prefixes]
    for place, ids in zip(given, encoded, strict=True):
        starts[place] = [i for i in ids if i != codec.eos_token_id]
    return [
        start if forced is None or start[:1] == [forced] else [forced, *start] for start in starts
    ]


def decoder_start(codec: TextCodec, settings: GenerationSettings) -> int:
    """The id that the decoder starts with: the language's, or as the model has it."""
    for start in (codec.decoder_start_token_id, settings.decoder_start_token_id):
        if start is not None:
            return start
    return codec.pad_token_id
