"""Metrics of translations: sacrebleu's, with signatures and statistics per example.

A metric takes predictions, the references of each and the target language:

>>> score = METRICS["chrf"](["the cat sat"], [["the cat sat", "a cat sat"]], "en")
>>> score.value
100.0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

Statistics = list[float | int]

# Languages written without spaces, whose words 13a does not find. By ISO 639-1 and, as NLLB
# names them, 639-3.
_TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value and what it rests on.

    Attributes:
        name: The metric, as in `METRICS`.
        value: The score of the whole corpus, 0 to 100 (TER can exceed 100).
        signature: sacrebleu's signature: number of references, case, tokenizer, version.
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
        build: Makes sacrebleu's metric for a target language.
        higher_is_better: False for error rates.
    """

    name: str
    build: Callable[[str], Any]
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
            target_language: Code of the predictions' language; chooses BLEU's tokenizer.

        Raises:
            ValueError: There is nothing to score, or an example has no reference.
        """
        if not predictions or len(predictions) != len(references):
            raise ValueError(f"{len(predictions)} predictions, {len(references)} references")
        if not all(references):
            raise ValueError("an example has no reference")
        metric = self.build(target_language)
        # sacrebleu wants the first references of all examples, then the second ...
        columns = list(zip_longest(*references))
        stats = metric._extract_corpus_statistics(list(predictions), columns)
        value = float(metric._aggregate_and_compute(stats).score)
        return Score(self.name, value, str(metric.get_signature()), [list(s) for s in stats])

    def combine(self, stats: Sequence[Statistics]) -> float:
        """The corpus score of examples, from their statistics.

        >>> score = METRICS["chrf"](["a cat", "dog"], [["a cat"], ["a dog"]], "en")
        >>> METRICS["chrf"].combine(score.per_example) == score.value
        True
        """
        # The statistics are already counted in tokens: no language needed.
        return float(self.build("en")._aggregate_and_compute(list(stats)).score)


def bleu_tokenizer(target_language: str) -> str:
    """The tokenizer that sacrebleu's BLEU uses for a language, as far as it is installed.

    Japanese and Korean need a dictionary (`pip install "sacrebleu[ja]"`, `[ko]`); without it
    characters are compared, which the signature says.

    >>> bleu_tokenizer("zh-Hans"), bleu_tokenizer("zho_Hans"), bleu_tokenizer("pt-BR")
    ('zh', 'zh', '13a')
    """
    primary = target_language.replace("_", "-").split("-")[0].lower()
    name = _TOKENIZERS.get(primary, "13a")
    if name.endswith("-mecab"):
        from sacrebleu.metrics import BLEU

        try:
            BLEU(tokenize=name)
        except (RuntimeError, ImportError):
            return "char"
    return name


def _bleu(target_language: str) -> Any:
    from sacrebleu.metrics import BLEU

    # `force` keeps sacrebleu from warning that texts ending in " ." look tokenised.
    return BLEU(tokenize=bleu_tokenizer(target_language), force=True)


def _chrf(target_language: str) -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def _ter(target_language: str) -> Any:
    from sacrebleu.metrics import TER

    asian = _TOKENIZERS.get(target_language.replace("_", "-").split("-")[0].lower()) is not None
    return TER(normalized=asian, asian_support=asian)


METRICS: dict[str, Metric] = {
    "bleu": Metric("bleu", _bleu),
    "chrf": Metric("chrf", _chrf),
    "ter": Metric("ter", _ter, higher_is_better=False),
}
