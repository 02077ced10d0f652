from __future__ import annotations

from collections import Counter

import pytest

from attuner.data.examples import EXAMPLES
from attuner.data.mixing import with_share, with_temperature, without_held_out
from attuner.data.stored import Stored
from attuner.data.units import Address, Example


def examples(target: str, *weights: float) -> list[Example]:
    address = Address("a.po", "1")
    return [
        Example(f"text {n}", ("text",), "en", target, address, weight)
        for n, weight in enumerate(weights)
    ]


def stored(made: list[Example]) -> Stored[Example]:
    return Stored.of(made, EXAMPLES)


@pytest.mark.parametrize(
    ("temperature", "weights"),
    [
        (1, [1, 1, 1, 1, 4]),  # as they were
        (2, [1, 1, 1, 1, 4]),  # both languages weigh 4: nothing to even out
    ],
)
def test_what_languages_weigh_counts_not_their_number(
    temperature: float, weights: list[float]
) -> None:
    both = [*examples("fr", 1, 1, 1, 1), *examples("de", 4)]
    made = with_temperature(stored(both), temperature)
    assert [example.weight for example in made] == pytest.approx(weights)


def test_within_a_language_the_proportions_stay() -> None:
    made = with_temperature(stored([*examples("fr", 3, 6), *examples("de", 1)]), 2)
    # 9 and 1 become 3 and 1 of 10 in all: 7.5 and 2.5.
    assert [example.weight for example in made] == pytest.approx([2.5, 5, 2.5])


def test_one_language_is_left_as_it_is() -> None:
    french = examples("fr", 1, 0.5)
    assert list(with_temperature(stored(french), 5)) == french


def test_a_share_whatever_the_number() -> None:
    for num in (1, 1000):
        mixed = with_share(stored(examples("fr", *[1.0] * num)), 0.2, 80)
        assert sum(example.weight for example in mixed) == pytest.approx(20)
    assert list(with_share(stored([]), 0.2, 80)) == []


def test_what_is_held_out_is_not_mixed_in() -> None:
    dropped: Counter[str] = Counter()
    kept = list(without_held_out(examples("fr", 1, 1, 1), [examples("de", 1)], dropped))
    assert [example.source for example in kept] == ["text 1", "text 2"]
    assert dropped == {"mixed in, but in validation or test": 1}
