"""ROUGE (Lin 2004): how many words, pairs of words or words in order a summary shares.

Through Google's `rouge-score`, whose values equal those of the original ROUGE-1.5.5 in Perl. Its
words are English: it drops every letter but a to z. Other languages are cut by Unicode here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from attuner.errors import MissingExtraError
from attuner.evaluation.metric import Measured, Metric, mean_of
from attuner.evaluation.words import is_english, words


def _rouge(
    kind: str, predictions: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> Measured:
    """F-measure of each prediction against the nearest of its references, 0 to 100."""
    scorer = _scorer(kind, language)
    stats: list[list[float | int]] = [
        [100 * float(scorer.score_multi(list(texts), prediction)[kind].fmeasure)]
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    tokens = "rouge-score" if is_english(language) else "unicode"
    signature = f"refs:best|measure:f1|tok:{tokens}|stem:no|version:{version('rouge-score')}"
    return stats, signature


def _scorer(kind: str, language: str) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("ROUGE", "rouge") from error
    return RougeScorer([kind], tokenizer=None if is_english(language) else _Tokenizer(language))


class _Tokenizer:
    """What `RougeScorer` asks of a tokenizer."""

    def __init__(self, language: str) -> None:
        self.tokenize: Callable[[str], list[str]] = partial(words, language=language)


ROUGE = tuple(
    Metric(kind, partial(_rouge, kind), mean_of) for kind in ("rouge1", "rouge2", "rougeL")
)
