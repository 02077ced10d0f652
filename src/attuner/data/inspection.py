"""What training will see, in numbers: counts, lengths in tokens, suspicious pairs, lost letters.

Knows no model: the tokenizer comes in as functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np

from attuner.data.characters import (
    Decode,
    Encode,
    LostCharacter,
    changed_texts,
    lost_characters,
)
from attuner.data.features import Ints
from attuner.data.hashes import HashSet, hash_of
from attuner.data.leaks import Leak, find_leaks
from attuner.data.parts import PARTS
from attuner.data.preparation import Prepared
from attuner.data.segments import segment
from attuner.data.splitting import normalised
from attuner.data.suspicion import Suspicion, find_suspicious
from attuner.data.units import Example

_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of one side of one part, in tokens a line, end token included.

    Attributes:
        part: "train", "validation" or "test".
        side: "source" or "target".
        num_lines: Lines counted.
        num_tokens: Tokens in all.
        percentiles: The 50th, 90th, 95th and 99th percentile.
        longest: The longest line.
        limit: Tokens allowed.
        num_too_long: Lines that are longer.
    """

    part: str
    side: str
    num_lines: int
    num_tokens: int
    percentiles: dict[int, int]
    longest: int
    limit: int
    num_too_long: int


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What becomes of one side's text in the tokenizer.

    Attributes:
        side: "source" or "target".
        lost: Characters that do not survive, over all lines.
        num_tried: Lines encoded and decoded as a whole.
        num_changed: Those that came back different.
        shown: A few of them, as (before, after).
    """

    side: str
    lost: tuple[LostCharacter, ...]
    num_tried: int
    num_changed: int
    shown: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Inspection:
    """What is in prepared data.

    Attributes:
        counts: As `Prepared.counts`.
        notes: As `Prepared.notes`.
        languages: Examples of each pair of languages, such as `en → fr`.
        num_pairs: Pairs of lines, or of whole texts, to learn from.
        num_ambiguous: Training examples whose source text, normalised, has another target too.
        leaks: Texts both learned from and scored on.
        lengths: Token lengths by part and side.
        suspicious: Pairs that may be wrong, of all parts.
        round_trips: Losses in the tokenizer, by side.
        whole_texts: Whether a "line" of the above is a whole text.
    """

    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    languages: dict[str, int]
    num_pairs: int
    num_ambiguous: int
    leaks: tuple[Leak, ...]
    lengths: tuple[Lengths, ...]
    suspicious: tuple[Suspicion, ...]
    round_trips: tuple[RoundTrip, ...]
    whole_texts: bool = False


def inspect(
    prepared: Prepared,
    *,
    encode_source: Encode,
    encode_target: Encode,
    decode: Decode,
    unk_token_id: int,
    max_source_tokens: int,
    max_target_tokens: int,
    prefix: str = "",
    num_shown: int = 5,
    num_tried: int = 2_000,
) -> Inspection:
    """Look at prepared data through a tokenizer.

    Args:
        prepared: The examples.
        encode_source: Source texts → token ids, end token included, without the prefix.
        encode_target: Target texts → token ids, end token included.
        decode: Token ids → texts.
        unk_token_id: Id of what the vocabulary lacks.
        max_source_tokens: Longest source line.
        max_target_tokens: Longest target line.
        prefix: What is put before each source line; it counts in its length.
        num_shown: Examples shown of each kind.
        num_tried: Lines to encode and decode as a whole, spread over the data.
    """
    parts = {part: getattr(prepared, part) for part in PARTS}
    everything = _Chained(tuple(parts.values()))
    lengths: list[Lengths] = []
    for part, examples in parts.items():
        for side, encode, limit in (
            ("source", encode_source, max_source_tokens),
            ("target", encode_target, max_target_tokens),
        ):
            if examples:
                lines = _lines(prepared, part, side)
                if side == "source":
                    lines = (f"{prefix}{line}" for line in lines)
                lengths.append(lengths_of(part, side, _token_lengths(lines, encode), limit))
    return Inspection(
        counts=prepared.counts,
        notes=prepared.notes,
        languages=_languages(everything),
        num_pairs=sum(1 for _ in prepared.training_pairs()),
        num_ambiguous=_num_ambiguous(prepared.train),
        leaks=tuple(find_leaks(prepared.train, validation=prepared.validation, test=prepared.test)),
        lengths=tuple(lengths),
        suspicious=tuple(
            find_suspicious(everything, num_shown=num_shown, whole_texts=prepared.whole_texts)
        ),
        round_trips=tuple(
            _round_trip(
                partial(_all_lines, everything, side, prepared.whole_texts),
                side,
                encode,
                decode,
                unk_token_id,
                num_shown,
                num_tried,
            )
            for side, encode in (("source", encode_source), ("target", encode_target))
            if side == "target" or _can_decode(encode, decode)
        ),
        whole_texts=prepared.whole_texts,
    )


class _Chained(Iterable[Example]):
    """Examples of several parts, one after the other, as often as they are asked for."""

    def __init__(self, parts: Sequence[Iterable[Example]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self._parts)


def _lines(prepared: Prepared, part: str, side: str) -> Iterator[str]:
    """The lines of a side that a model meets: in training those of pairs, else all."""
    if part == "train":
        pairs = prepared.training_pairs()
        return (source if side == "source" else target for source, target, _ in pairs)
    return _all_lines(getattr(prepared, part), side, prepared.whole_texts)


def _all_lines(examples: Iterable[Example], side: str, whole: bool) -> Iterator[str]:
    return (
        line for example in examples for line in segment(_side(example, side), whole=whole).lines
    )


def _side(example: Example, side: str) -> str:
    return example.source if side == "source" else example.references[0]


def _token_lengths(lines: Iterator[str], encode: Encode) -> Ints:
    lengths = [np.zeros(0, np.int64)]
    while chunk := list(islice(lines, _CHUNK)):
        lengths.append(encode(chunk).lengths)
    return np.concatenate(lengths)


def lengths_of(part: str, side: str, lengths: Ints, limit: int) -> Lengths:
    """Lengths in tokens as a summary; arguments as the attributes of `Lengths`."""
    # A part may have no line at all: every example with other numbers of lines on its sides.
    values = lengths if len(lengths) else np.zeros(1, np.int64)
    percentiles = {
        p: int(np.percentile(values, p, method="inverted_cdf")) for p in (50, 90, 95, 99)
    }
    return Lengths(
        part=part,
        side=side,
        num_lines=len(lengths),
        num_tokens=int(values.sum()),
        percentiles=percentiles,
        longest=int(values.max()),
        limit=limit,
        num_too_long=int((values > limit).sum()),
    )


def _languages(examples: Iterable[Example]) -> dict[str, int]:
    pairs = Counter((example.source_language, example.target_language) for example in examples)
    return {
        f"{source} → {target}" if source else target: n
        for (source, target), n in pairs.most_common()
    }


def _num_ambiguous(examples: Iterable[Example]) -> int:
    """How many have a source text, normalised, that stands with another target, too."""
    sources, pairs, ambiguous = HashSet(), HashSet(), HashSet()
    for example in examples:
        key = hash_of(example.target_language, normalised(example.source))
        pair = hash_of(str(key), example.references[0])
        if pairs.add(pair) and not sources.add(key):
            ambiguous.add(key)
    if not len(ambiguous):
        return 0
    return sum(
        hash_of(example.target_language, normalised(example.source)) in ambiguous
        for example in examples
    )


def _can_decode(encode: Encode, decode: Decode) -> bool:
    """Whether `decode`, made for target ids, reads these ids too: the vocabulary is shared."""
    probes = ["file", "the name of it"]
    return [text.casefold() for text in decode(encode(probes).to_lists())] == probes


def _round_trip(
    lines: Callable[[], Iterator[str]],
    side: str,
    encode: Encode,
    decode: Decode,
    unk_token_id: int,
    num_shown: int,
    num_tried: int,
) -> RoundTrip:
    num_lines = sum(1 for _ in lines())
    tried = list(islice(lines(), 0, None, max(1, -(-num_lines // num_tried))))
    changed = changed_texts(tried, encode, decode)
    return RoundTrip(
        side=side,
        lost=tuple(lost_characters(lines(), encode, decode, unk_token_id=unk_token_id)),
        num_tried=len(tried),
        num_changed=len(changed),
        shown=tuple((before, after) for _, before, after in changed[:num_shown]),
    )
