"""Metrics by the names and with the results that courses print: collected, then computed.

>>> bleu = metric("sacrebleu")
>>> bleu.add_batch(predictions=["This plugin"], references=[["This plugin works."]])
>>> bleu.compute()["sys_len"]
2
>>> metric("glue/mrpc").compute(predictions=[1, 0, 1], references=[1, 1, 1])
{'accuracy': 0.6666666666666666, 'f1': 0.8}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attuner.errors import DataError, UsageError, nearest

Result = dict[str, Any]
Compute = Callable[..., Result]


class CollectedMetric:
    """A metric that takes predictions and references at once or batch by batch.

    Args:
        name: As `metric` knows it.
        compute: Predictions, references and the metric's options → its results.
    """

    def __init__(self, name: str, compute: Compute) -> None:
        self.name = name
        self._compute = compute
        self._predictions: list[Any] = []
        self._references: list[Any] = []

    def add(self, *, prediction: Any, reference: Any) -> None:
        """Take one example."""
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions: Any, references: Any) -> None:
        """Take the examples of a batch: lists, arrays or tensors, (B,) each.

        Raises:
            DataError: There are not as many references as predictions.
        """
        said, true = _listed(predictions), _listed(references)
        if len(said) != len(true):
            raise DataError(
                f"{self.name} was given {len(said):,} predictions and {len(true):,} references.",
                "Each prediction has one reference, or one list of references.",
                "Give both of the same examples, in the same order.",
            )
        self._predictions += said
        self._references += true

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> Result:
        """The results of all examples taken, which are forgotten.

        Args:
            predictions: Further predictions, as `add_batch` takes them.
            references: Their references.
            **options: Of the metric, such as `average` of f1 or `tokenize` of sacrebleu.

        Raises:
            DataError: There is nothing to score, or the numbers differ.
        """
        if predictions is not None or references is not None:
            self.add_batch(
                predictions=[] if predictions is None else predictions,
                references=[] if references is None else references,
            )
        said, self._predictions = self._predictions, []
        true, self._references = self._references, []
        if not said:
            raise DataError(
                f"{self.name} has no predictions to score.",
                "Expected at least one example.",
                "Give predictions= and references=, or call add_batch before.",
            )
        return self._compute(said, true, **options)


def metric(name: str) -> CollectedMetric:
    """A metric by its name; nothing is downloaded.

    Args:
        name: `sacrebleu`, `chrf`, `accuracy`, `f1`, `precision`, `recall`,
            `matthews_correlation`, or a task of GLUE such as `glue/mrpc`.

    Raises:
        UsageError: There is no such metric.
    """
    if name not in COLLECTED:
        raise UsageError(f'There is no metric "{name}".', nearest(name, COLLECTED))
    return CollectedMetric(name, COLLECTED[name])


def _listed(values: Any) -> list[Any]:
    """Lists as they are; arrays and tensors as lists."""
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


def _columns(references: Sequence[Any]) -> list[list[str]]:
    """The first references of all examples, then the second ...: sacrebleu's layout."""
    rows = [[row] if isinstance(row, str) else list(row) for row in references]
    if len(set(map(len, rows))) > 1:
        raise DataError(
            "Examples have different numbers of references.",
            "sacrebleu's corpus scores compare as many references of each example.",
            "Give each example the same number of references.",
        )
    return [list(column) for column in zip(*rows, strict=True)]


def _sacrebleu(predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Result:
    import sacrebleu

    found = sacrebleu.corpus_bleu(predictions, _columns(references), **options)
    return {
        name: getattr(found, name)
        for name in ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
    }


def _chrf(predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Result:
    import sacrebleu

    found = sacrebleu.corpus_chrf(predictions, _columns(references), **options)
    return {name: getattr(found, name) for name in ("score", "char_order", "word_order", "beta")}


def _sklearn(result: str, function: str) -> Compute:
    def compute(predictions: Sequence[Any], references: Sequence[Any], **options: Any) -> Result:
        from sklearn import metrics

        found = getattr(metrics, function)(references, predictions, **options)
        return {result: found.tolist() if hasattr(found, "tolist") else found}

    return compute


def _correlations(predictions: Sequence[float], references: Sequence[float]) -> Result:
    from scipy import stats

    return {
        "pearson": float(stats.pearsonr(predictions, references).statistic),
        "spearmanr": float(stats.spearmanr(predictions, references).statistic),
    }


def _both(*computes: Compute) -> Compute:
    def compute(predictions: Sequence[Any], references: Sequence[Any]) -> Result:
        return {
            name: value
            for part in computes
            for name, value in part(predictions, references).items()
        }

    return compute


_ACCURACY = _sklearn("accuracy", "accuracy_score")
_F1 = _sklearn("f1", "f1_score")
_MATTHEWS = _sklearn("matthews_correlation", "matthews_corrcoef")

COLLECTED: dict[str, Compute] = {
    "sacrebleu": _sacrebleu,
    "chrf": _chrf,
    "accuracy": _ACCURACY,
    "f1": _F1,
    "precision": _sklearn("precision", "precision_score"),
    "recall": _sklearn("recall", "recall_score"),
    "matthews_correlation": _MATTHEWS,
    "glue/cola": _MATTHEWS,
    "glue/stsb": _correlations,
    **dict.fromkeys(("glue/mrpc", "glue/qqp"), _both(_ACCURACY, _F1)),
    **dict.fromkeys(
        [f"glue/{task}" for task in ("sst2", "mnli", "qnli", "rte", "wnli")], _ACCURACY
    ),
}
