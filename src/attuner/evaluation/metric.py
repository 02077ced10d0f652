"""What a metric is: texts and references in, a score with its signature and statistics out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Statistics = list[float | int]
# Statistics of each example, and the signature.
Measured = tuple[list[Statistics], str]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value and what it rests on.

    Attributes:
        name: The metric, as in `METRICS`.
        value: The score of the whole corpus, 0 to 100 (TER can exceed 100).
        signature: The settings behind it: number of references, case, tokenizer, version.
        per_example: Sufficient statistics of each example; `Metric.combine` makes the corpus
            score of any selection of them.
    """

    name: str
    value: float
    signature: str
    per_example: list[Statistics]


@dataclass(frozen=True, slots=True)
class Metric:
    """A corpus metric.

    Attributes:
        name: As in `METRICS`.
        measure: Predictions, the references of each and the code of their language → statistics
            of each example, and the signature.
        combine: The corpus score of examples, from their statistics.
        higher_is_better: False for error rates.
    """

    name: str
    measure: Callable[[Sequence[str], Sequence[Sequence[str]], str], Measured]
    combine: Callable[[Sequence[Statistics]], float]
    higher_is_better: bool = True

    def __call__(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        target_language: str,
    ) -> Score:
        """Score predictions against references.

        Args:
            predictions: One text for each example.
            references: The references of each example, one or more; their number may differ.
            target_language: Code of the predictions' language, which says what a word is.

        Raises:
            ValueError: There is nothing to score, or an example has no reference.
            MissingExtraError: The metric's library is not installed.
        """
        if not predictions or len(predictions) != len(references):
            raise ValueError(f"{len(predictions)} predictions, {len(references)} references")
        if not all(references):
            raise ValueError("an example has no reference")
        stats, signature = self.measure(predictions, references, target_language)
        return Score(self.name, self.combine(stats), signature, stats)


def mean_of(stats: Sequence[Statistics]) -> float:
    """The corpus score of metrics that have a score for each example: the mean.

    >>> mean_of([[100.0], [50.0]])
    75.0
    """
    return sum(value for (value,) in stats) / len(stats)
