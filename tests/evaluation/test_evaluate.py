"""Scores of a model are those of whole entries, as its user sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from attuner.data.units import Address, Example
from attuner.errors import UsageError
from attuner.evaluation.evaluate import evaluate
from attuner.evaluation.metrics import METRICS
from attuner.inference.engine import Hypothesis


class Echo:
    name = "echo 1.0"

    def generate(self, lines: Sequence[str], **options: Any) -> list[list[Hypothesis]]:
        return [[Hypothesis(line, (), 0.0)] for line in lines]


def example(source: str, *references: str, target: str = "fr") -> Example:
    return Example(source, references, "en", target, Address("a.po", "1"))


def test_whole_entries_are_scored_with_all_references() -> None:
    examples = [
        example(" Ouvrir le fichier\nsans attendre ", " Ouvrir le fichier\nsans attendre "),
        example("Fermer toutes les fenêtres", "Fermer tout", "Fermer toutes les fenêtres"),
        example("Le noyau redémarre", "Le noyau se relance"),
    ]
    seen: list[tuple[int, int]] = []
    made = evaluate(Echo(), examples, progress=lambda *counts: seen.append(counts))
    assert made.predictions == [e.source for e in examples]
    references = [e.references for e in examples]
    for name in ("bleu", "chrf"):
        score = METRICS[name](made.predictions, references, "fr")
        assert made.scores[name] == score.value
        assert made.signatures[name] == score.signature
        assert made.per_example[name] == score.per_example
    assert 0 < made.scores["bleu"] < 100
    assert made.engine == "echo 1.0"
    assert (made.num_beams, made.max_new_tokens) == (4, 128)
    assert made.seconds > 0
    assert seen == [(4, 4)]


def test_an_unknown_metric() -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(Echo(), [example("a", "b")], metrics=["blue"])
    assert str(caught.value) == (
        'There is no metric "blue".\nDid you mean "bleu"? Known: bleu, chrf, ter.'
    )


def test_what_cannot_be_one_score() -> None:
    with pytest.raises(ValueError, match="0 examples"):
        evaluate(Echo(), [])
    with pytest.raises(ValueError, match=r"2 examples with target languages \['de', 'fr'\]"):
        evaluate(Echo(), [example("a", "b"), example("a", "b", target="de")])
