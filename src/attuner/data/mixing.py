"""How often each example is seen: languages evened out, general text mixed in.

Only weights are set. The batch plan draws each example as often as its weight says, anew in every
epoch: of a weight of 0.3, three epochs in ten see it; of 2.5, every epoch twice and half of them
once more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from attuner.data.examples import languages_of
from attuner.data.hashes import hash_of
from attuner.data.leaks import source_hashes
from attuner.data.splitting import normalised
from attuner.data.stored import Stored
from attuner.data.units import Example


def with_temperature(examples: Stored[Example], temperature: float) -> Stored[Example]:
    """The examples, weighted so that languages are seen in proportion to `n^(1/temperature)`.

    Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild",
    section 4.2. `n` is what a language's weights add up to; those of all languages together stay
    what they are, and within a language the proportions.

    Args:
        examples: In several languages, each of which is a pair of source and target language.
        temperature: 1 leaves the weights; the larger, the more even.
    """
    if temperature == 1:
        return examples
    known: dict[tuple[str, str], int] = {}
    pairs = np.fromiter(
        (known.setdefault(pair, len(known)) for pair in languages_of(examples)), np.int64
    )
    if len(known) < 2:
        return examples
    sizes = np.bincount(pairs, weights=examples.weights)
    wanted = sizes ** (1 / temperature)
    factors = wanted * (sizes.sum() / wanted.sum()) / sizes
    return examples.with_weights(examples.weights * factors[pairs])


def with_share(general: Stored[Example], share: float, num_others: float) -> Stored[Example]:
    """General text, weighted so that it makes up `share` of what an epoch sees.

    Args:
        general: The examples to mix in; their weights count among themselves.
        share: Above 0 and below 1.
        num_others: How many others an epoch sees.
    """
    total = math.fsum(general.weights)
    factor = share / (1 - share) * num_others / total if total else 1.0
    return general.with_weights(general.weights * factor)


def without_held_out(
    general: Iterable[Example], held_out: Iterable[Iterable[Example]], left_out: Counter[str]
) -> Iterator[Example]:
    """General text whose source text no example of the held-out parts has.

    The others are counted.
    """
    known = source_hashes(*held_out)
    for example in general:
        if hash_of(normalised(example.source)) in known:
            left_out["mixed in, but in validation or test"] += 1
        else:
            yield example
