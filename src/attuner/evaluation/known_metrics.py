"""The metrics of texts and of labels together: which names are taken, and which way is better."""

from __future__ import annotations

from attuner.evaluation import label_metrics, metrics

# By name, whether more is better; the loss is a score, too.
KNOWN = {
    "loss": False,
    **{name: metric.higher_is_better for name, metric in metrics.METRICS.items()},
    **{
        name: metric.higher_is_better
        for of_kind in label_metrics.METRICS.values()
        for name, metric in of_kind.items()
    },
}


def higher_is_better(name: str) -> bool:
    """Whether more of a score is better; of metrics of the user's own it is.

    >>> higher_is_better("bleu/fr"), higher_is_better("ter"), higher_is_better("kappa")
    (True, False, True)
    """
    return KNOWN.get(name.partition("/")[0], True)
