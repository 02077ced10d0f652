"""Whether a checkpoint behaves: what its loss and its greedy outputs say. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from attuner.data.sides import Grams, Sides, letter_groups
from attuner.models.soundness import Finding

# Of ln V, the loss of a uniform guess. A model that knows a language is at 3 to 6 nats a token on a
# domain that is strange to it; ln V is 9.0 for 8,000 tokens and 12.4 for 250,000.
_HIGH_SHARE = 0.75
# An output of so many tokens, most of whose pairs of neighbours occurred before, goes in circles.
_TELLING_TOKENS = 6
_MOST_REPEATED = 0.5
# Shares of the translations.
_MANY, _MOST = 0.5, 0.75
_FEWEST_JUDGED = 3

_RAW = (
    "A raw pretrained model, such as T5 or mBART as published, has not learned the task yet: then "
    "go on."
)


@dataclass(frozen=True, slots=True)
class Output:
    """A greedy translation of a training source.

    Attributes:
        source: The source line.
        reference: Its translation in the data.
        text: What the model wrote.
        token_ids: Its tokens, without start and end.
        has_ended: Whether the model ended it, and not the limit.
    """

    source: str
    reference: str
    text: str
    token_ids: tuple[int, ...]
    has_ended: bool

    @property
    def fault(self) -> str:
        """What is degenerate about it, as the end of "n translations ..."; "" if nothing."""
        if not self.text.strip():
            return "are empty"
        if repeated_share(self.token_ids) > _MOST_REPEATED:
            return "repeat themselves"
        return "" if self.has_ended else "do not end"


def loss_findings(
    loss: float, num_pairs: int, vocabulary: int, *, only_translates: bool
) -> list[Finding]:
    """What the loss on some training pairs says.

    Args:
        loss: Nats a token.
        num_pairs: Number of pairs.
        vocabulary: Tokens that the model chooses from.
        only_translates: Whether each checkpoint of the family can translate.
    """
    on = f"on {num_pairs} training {'pair' if num_pairs == 1 else 'pairs'}"
    if not math.isfinite(loss):
        return [
            Finding(
                f"The loss {on} is {loss}.",
                "Expected a finite number.",
                "Download or save the checkpoint again.",
            )
        ]
    guess = math.log(vocabulary)
    if loss < _HIGH_SHARE * guess:
        return []
    return [
        Finding(
            f"The loss {on} is {loss:.2f} nats a token; guessing blindly among {vocabulary:,} "
            f"tokens gives {guess:.2f}.",
            f"Expected less than {_HIGH_SHARE * guess:.2f}, also on texts that are new to the "
            "model.",
            "Check that the tokenizer belongs to the checkpoint, and that the checkpoint knows "
            "the languages of the task." + ("" if only_translates else f" {_RAW}"),
            is_certain=only_translates and loss >= guess,
        )
    ]


def softened(findings: Sequence[Finding], outputs: Sequence[Output]) -> list[Finding]:
    """The findings of a loss, suspicions at most where the translations are right, or too few.

    A model that was tuned on few texts for long is so sure of them that its loss on others is above
    a uniform guess, and yet it translates: most of its translations are nearest to their own
    reference. Those of a model with another's vocabulary are not, though they are made of the
    target language's pieces.
    """
    references = [letter_groups(output.reference) for output in outputs]
    num_nearest = 0
    for place, output in enumerate(outputs):
        likeness = [_likeness(letter_groups(output.text), groups) for groups in references]
        others = [*likeness[:place], *likeness[place + 1 :]]
        num_nearest += likeness[place] > max(others, default=1.0)
    if len(outputs) < _FEWEST_JUDGED or num_nearest >= _MANY * len(outputs):
        return [replace(finding, is_certain=False) for finding in findings]
    return list(findings)


def output_findings(outputs: Sequence[Output], *, only_translates: bool) -> list[Finding]:
    """Whether the translations are empty, go in circles, never end, or are all the same."""
    if len(outputs) < _FEWEST_JUDGED:
        return []
    faults = Counter(output.fault for output in outputs if output.fault)
    texts = {output.text for output in outputs}
    shown = next((output for output in outputs if output.fault), outputs[0])
    if len(texts) == 1 and not faults["are empty"]:
        what, share = f"all {len(outputs)} are the same", 1.0
    else:
        what = ", ".join(f"{number} {fault}" for fault, number in sorted(faults.items()))
        share = faults.total() / len(outputs)
    if share < _MANY:
        return []
    return [
        Finding(
            f"Of the model's greedy outputs for {len(outputs)} training sources {what}, such "
            f'as "{_short(shown.text)}" for "{_short(shown.source)}".',
            "Expected outputs that differ, end, and do not go in circles.",
            "Check that the checkpoint is whole, that the tokenizer belongs to it, and that it "
            "knows the languages of the task." + ("" if only_translates else f" {_RAW}"),
            is_certain=only_translates and share >= _MOST,
        )
    ]


def language_findings(
    outputs: Sequence[Output],
    sides: Sides,
    languages: tuple[str, str],
    cause: str,
    *,
    only_translates: bool,
) -> list[Finding]:
    """Whether the translations look like the target side of the data.

    Args:
        outputs: Translations that are not degenerate.
        sides: What the two sides look like; they must be distinct.
        languages: Source and target, as the task names them.
        cause: The probable cause, and what to do.
        only_translates: Whether each checkpoint of the family can translate.
    """
    source, target = languages
    wrong, num_judged = [], 0
    for output in outputs:
        is_foreign = sides.is_foreign(output.text)
        side = sides.side_of(output.text)
        num_judged += is_foreign or side is not None
        if is_foreign or side == "source":
            wrong.append((output, is_foreign))
    if num_judged < _FEWEST_JUDGED or len(wrong) < _MANY * num_judged:
        return []
    output, is_foreign = wrong[0]
    look = "are in another script" if is_foreign else f"look like {source}"
    return [
        Finding(
            f"Of the model's greedy outputs for {num_judged} training sources {len(wrong)} "
            f'{look} rather than {target}, such as "{_short(output.text)}" for '
            f'"{_short(output.source)}".',
            f"Expected {target}, as the targets of the data are.",
            cause + ("" if only_translates else f" {_RAW}"),
            is_certain=only_translates and len(wrong) >= _MOST * num_judged,
        )
    ]


def repeated_share(token_ids: Sequence[int]) -> float:
    """The share of neighbouring tokens that occurred before in the same order.

    >>> repeated_share([1, 2, 3, 4, 5, 6]), repeated_share([7, 7, 7, 7, 7, 7]), repeated_share([7])
    (0.0, 0.8, 0.0)
    """
    if len(token_ids) < _TELLING_TOKENS:
        return 0.0
    pairs = list(pairwise(token_ids))
    return 1 - len(set(pairs)) / len(pairs)


def _likeness(one: Grams, other: Grams) -> float:
    """Dice's coefficient of two texts' groups of letters, 0 to 1."""
    both = one.total() + other.total()
    return 2 * (one & other).total() / both if both else 0.0


def _short(text: str, longest: int = 60) -> str:
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
