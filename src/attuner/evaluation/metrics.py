"""All metrics by name, and sacrebleu's: BLEU, chrF, TER.

A metric takes predictions, the references of each and the target language:

>>> score = METRICS["chrf"](["the cat sat"], [["the cat sat", "a cat sat"]], "en")
>>> score.value
100.0
>>> METRICS["chrf"].combine(score.per_example)
100.0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from attuner.evaluation.answers import ANSWERS
from attuner.evaluation.metric import Measured, Metric, Score, Statistics
from attuner.evaluation.rouge import ROUGE
from attuner.evaluation.words import primary_language

__all__ = ["METRICS", "Metric", "Score", "Statistics", "bleu_tokenizer"]

# Languages written without spaces, whose words 13a does not find. By ISO 639-1 and, as NLLB
# names them, 639-3.
_TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}


def bleu_tokenizer(target_language: str) -> str:
    """The tokenizer that sacrebleu's BLEU uses for a language, as far as it is installed.

    Japanese and Korean need a dictionary (`pip install "sacrebleu[ja]"`, `[ko]`); without it
    characters are compared, which the signature says.

    >>> bleu_tokenizer("zh-Hans"), bleu_tokenizer("zho_Hans"), bleu_tokenizer("pt-BR")
    ('zh', 'zh', '13a')
    """
    name = _TOKENIZERS.get(primary_language(target_language), "13a")
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

    asian = primary_language(target_language) in _TOKENIZERS
    return TER(normalized=asian, asian_support=asian)


def _measure(
    build: Callable[[str], Any],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str,
) -> Measured:
    metric = build(language)
    # sacrebleu wants the first references of all examples, then the second ...
    columns = list(zip_longest(*references))
    stats = metric._extract_corpus_statistics(list(predictions), columns)
    return [list(s) for s in stats], str(metric.get_signature())


def _combine(build: Callable[[str], Any], stats: Sequence[Statistics]) -> float:
    # The statistics are already counted in tokens: no language needed.
    return float(build("en")._aggregate_and_compute(list(stats)).score)


def _sacrebleu(name: str, build: Callable[[str], Any], *, higher_is_better: bool = True) -> Metric:
    return Metric(name, partial(_measure, build), partial(_combine, build), higher_is_better)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _sacrebleu("bleu", _bleu),
        _sacrebleu("chrf", _chrf),
        _sacrebleu("ter", _ter, higher_is_better=False),
        *ROUGE,
        *ANSWERS,
    )
}
