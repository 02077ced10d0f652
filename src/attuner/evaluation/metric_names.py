"""The names of metrics, as their authors write them, and intervals and units of scores."""

from __future__ import annotations

_NAMES = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L", "exact_match": "exact", "token_f1": "F1", "f1": "F1", "mcc": "MCC",
    "macro_f1": "macro F1", "micro_f1": "micro F1", "map": "mAP", "mae": "MAE",
    "pearson": "Pearson", "spearman": "Spearman",
}  # fmt: skip


def metric_name(metric: str) -> str:
    """A metric as its authors write it, and the language that it is of.

    >>> metric_name("rougeL"), metric_name("bleu/fr")
    ('ROUGE-L', 'BLEU fr')
    """
    name, _, language = metric.partition("/")
    return f"{_NAMES.get(name, name)} {language}".rstrip()


def loss_unit(*, of_labels: bool) -> str:
    """What the loss is a mean over, of a classifier or of a model that writes texts."""
    return "mean of an example" if of_labels else "nats a target token"


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval in brackets, after its score; "" where there is none.

    >>> interval_text((81.64, 85.91)), interval_text((0.667, 0.723)), interval_text(None)
    (' [81.6, 85.9]', ' [0.67, 0.72]', '')
    """
    if interval is None:
        return ""
    digits = 1 if max(map(abs, interval)) >= 10 else 2
    return " [{:.{digits}f}, {:.{digits}f}]".format(*interval, digits=digits)
