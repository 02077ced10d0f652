"""Exact match and token F1, as question answering is scored since SQuAD.

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section 6.1,
and its official script `evaluate-v1.1.py`: case, punctuation, articles and white space aside; the
best of all references counts. Articles are English ones, so that they are dropped from English
only; punctuation of other languages is that of Unicode, as MLQA has it (Lewis et al. 2020), and
languages without spaces are compared by characters.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from attuner.evaluation.metric import Measured, Metric, mean_of
from attuner.evaluation.words import is_english, words

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalised_answer(text: str, language: str) -> str:
    """A text as it counts for the same answer.

    >>> normalised_answer("The  Eiffel Tower.", "en")
    'eiffel tower'
    >>> normalised_answer("« La Tour Eiffel »", "fr")
    'la tour eiffel'
    """
    english = is_english(language)

    def is_mark(char: str) -> bool:
        return char in _PUNCTUATION or (not english and unicodedata.category(char)[0] == "P")

    bare = "".join(char for char in text.lower() if not is_mark(char))
    if english:
        bare = _ARTICLES.sub(" ", bare)
    return " ".join(bare.split())


def _exact_match(prediction: str, reference: str, language: str) -> float:
    same = normalised_answer(prediction, language) == normalised_answer(reference, language)
    return 100.0 * same


def _token_f1(prediction: str, reference: str, language: str) -> float:
    ours, theirs = (_tokens(text, language) for text in (prediction, reference))
    num_same = sum((Counter(ours) & Counter(theirs)).values())
    if not num_same:
        # The script of SQuAD 2.0: two empty answers are the same answer.
        return 100.0 * (ours == theirs == [])
    precision, recall = num_same / len(ours), num_same / len(theirs)
    return 100 * 2 * precision * recall / (precision + recall)


def _tokens(text: str, language: str) -> list[str]:
    bare = normalised_answer(text, language)
    return bare.split() if is_english(language) else words(bare, language)


def _best(
    score: Callable[[str, str, str], float],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str,
) -> Measured:
    stats: list[list[float | int]] = [
        [max(score(prediction, text, language) for text in texts)]
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    articles = "removed" if is_english(language) else "kept"
    return stats, f"refs:best|case:lc|punctuation:removed|articles:{articles}|as:squad-1.1"


ANSWERS = (
    Metric("exact_match", partial(_best, _exact_match), mean_of),
    Metric("token_f1", partial(_best, _token_f1), mean_of),
)
