"""What chapters call of the library `evaluate`, without a network: `evaluate.load(name)`."""

from __future__ import annotations

from typing import Any

from attuner.compat.spellings import logger
from attuner.evaluation.collected import CollectedMetric, metric


def load(path: str, config_name: str | None = None, **options: Any) -> CollectedMetric:
    """A metric by its name; nothing is downloaded.

    Args:
        path: Such as `sacrebleu`, `accuracy`, `glue`.
        config_name: Of `glue`, its task: `mrpc`.
        **options: What else `evaluate.load` takes has no effect, and is said.

    Raises:
        UsageError: There is no such metric.

    >>> load("glue", "mrpc").compute(predictions=[1, 0], references=[1, 0])
    {'accuracy': 1.0, 'f1': 1.0}
    """
    if options:
        logger.warning("%s of metrics: no effect, nothing is downloaded.", ", ".join(options))
    return metric(path if config_name is None else f"{path}/{config_name}")


def load_metric(path: str, config_name: str | None = None, **options: Any) -> CollectedMetric:
    """What `datasets.load_metric` was; see `load`."""
    return load(path, config_name, **options)
