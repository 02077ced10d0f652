"""How often each example is seen: languages evened out, general text mixed in.

Only weights are set. The batch plan draws each example as often as its weight says, anew in every
epoch: of a weight of 0.3, three epochs in ten see it; of 2.5, every epoch twice and half of them
once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from attuner.data.splitting import normalised
from attuner.data.units import Example


def with_temperature(examples: Sequence[Example], temperature: float) -> list[Example]:
    """The examples, weighted so that languages are seen in proportion to `n^(1/temperature)`.

    Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild",
    section 4.2. `n` is what a language's weights add up to; those of all languages together stay
    what they are, and within a language the proportions.

    Args:
        examples: In several languages, each of which is a pair of source and target language.
        temperature: 1 leaves the weights; the larger, the more even.
    """
    sizes: dict[tuple[str, str], float] = {}
    for example in examples:
        pair = (example.source_language, example.target_language)
        sizes[pair] = sizes.get(pair, 0.0) + example.weight
    if temperature == 1 or len(sizes) < 2:
        return list(examples)
    wanted = {pair: size ** (1 / temperature) for pair, size in sizes.items()}
    scale = sum(sizes.values()) / sum(wanted.values())
    factors = {pair: wanted[pair] * scale / size for pair, size in sizes.items()}
    return [
        replace(
            example,
            weight=example.weight * factors[(example.source_language, example.target_language)],
        )
        for example in examples
    ]


def with_share(general: Sequence[Example], share: float, num_others: float) -> list[Example]:
    """General text, weighted so that it makes up `share` of what an epoch sees.

    Args:
        general: The examples to mix in; their weights count among themselves.
        share: Above 0 and below 1.
        num_others: How many others an epoch sees.
    """
    total = sum(example.weight for example in general)
    factor = share / (1 - share) * num_others / total if total else 1.0
    return [replace(example, weight=example.weight * factor) for example in general]


def without_held_out(
    general: Iterable[Example], held_out: Iterable[Example], left_out: Counter[str]
) -> list[Example]:
    """General text whose source text no held-out example has; the others are counted."""
    known = {normalised(example.source) for example in held_out}
    kept = []
    for example in general:
        if normalised(example.source) in known:
            left_out["mixed in, but in validation or test"] += 1
        else:
            kept.append(example)
    return kept
