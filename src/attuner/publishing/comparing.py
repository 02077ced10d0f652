"""Whether an export is as good as its model: both on the same examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attuner.errors import ExportError
from attuner.publishing import to_transformers
from attuner.publishing.exported import Exported
from attuner.publishing.held_out import HeldOut
from attuner.publishing.measuring import (
    LABEL_METRICS,
    Measured,
    fall,
    measure_labels,
    measure_texts,
)
from attuner.publishing.origin import Origin

Progress = Callable[[str, int, int], None]


def compared(
    origin: Origin,
    made: Exported,
    folder: Path,
    held_out: HeldOut,
    metric: str | None,
    margin: float,
    progress: Progress | None,
) -> Exported:
    """The export with how it does on the examples, beside the model."""
    metrics = _metrics(origin, held_out, metric)
    tell = progress or (lambda what, done, total: None)
    before = _measured(
        origin, None, held_out, metrics, made.model_bytes,
        lambda done, total: tell("Scoring the model", done, total),
    )  # fmt: skip
    after = _measured(
        origin, replace(made, folder=folder), held_out, metrics, made.num_bytes,
        lambda done, total: tell("Scoring the export", done, total),
    )  # fmt: skip
    equal = sum(old == new for old, new in zip(before.outputs, after.outputs, strict=True))
    return replace(
        made,
        examples=held_out.in_words,
        part=held_out.part,
        num_examples=len(held_out.examples),
        num_equal=equal,
        metric=metrics[0],
        margin=margin,
        fall=fall(before, after, metrics[0]),
        original=before,
        exported=after,
    )


def _metrics(origin: Origin, held_out: HeldOut, metric: str | None) -> list[str]:
    """Which scores to compute; the first one decides.

    Raises:
        UsageError: There is no such metric.
    """
    if origin.labels is not None:
        from attuner.evaluation.classification import require_label_metrics

        first = metric or LABEL_METRICS[origin.labels.kind]
        more = ["macro_f1"] if origin.labels.kind == "single" else []
        require_label_metrics([first], origin.labels)
        return list(dict.fromkeys([first, *more]))
    from attuner.evaluation.evaluate import require_metrics
    from attuner.models.usage import Usage, read_usage

    whole_texts = (read_usage(origin.folder) or Usage()).whole_texts
    usual = (held_out.metrics or ("chrf",)) if whole_texts else ("bleu", "chrf")
    chosen = list(dict.fromkeys([*([metric] if metric else []), *usual]))
    require_metrics(chosen)
    return chosen


def _measured(
    origin: Origin,
    made: Exported | None,
    held_out: HeldOut,
    metrics: list[str],
    num_bytes: int,
    progress: Callable[[int, int], None],
) -> Measured:
    """The model (None), as transformers computes it in float32, or an export of it."""
    examples: Any = held_out.examples
    how: dict[str, Any] = {"num_bytes": num_bytes, "progress": progress}
    in_memory = made is not None and made.format == "transformers"
    if origin.labels is not None:
        from attuner.inference.classifier import load_labels

        if made is not None and in_memory:
            classifier = to_transformers.load_labels(origin, made.folder, made.number_format)
        else:
            folder = origin.folder if made is None else made.folder
            classifier = load_labels(folder, precision="fp32")
        return measure_labels(classifier, examples, metrics, **how)
    from attuner.inference.translator import load

    if made is None:
        translator = load(origin.folder, engine="transformers")
    elif in_memory:
        translator = to_transformers.load_texts(origin, made.folder, made.number_format)
    else:
        translator = load(made.folder)
    return measure_texts(translator, examples, metrics, **how)


def worse(made: Exported, options: Mapping[str, str]) -> ExportError:
    """The error where an export is worse than its model, and may not be."""
    from attuner.console_text import metric_name

    assert made.original is not None
    assert made.exported is not None
    name = metric_name(made.metric)
    before, after = (m.scores[made.metric] for m in (made.original, made.exported))
    option = {"ctranslate2": "quantization", "transformers": "dtype"}
    remedy = ""
    if made.number_format != "float32":  # as ONNX always is
        finer = options[option[made.format]].format("float32")
        remedy = f"Try a finer number format: {finer}. "
    return ExportError(
        f"The export is worse than {made.model}: {name} {after:.2f} on {made.examples}, the "
        f"model's is {before:.2f}.",
        f"It may be worse by {made.margin:g}, and is so by {made.fall:.2f}. Nothing was written.",
        f"{remedy}Or keep it as it is: {options['force']}",
    )
