"""An export in words: where it lies, how it compares with its model, how it is used."""

from __future__ import annotations

from attuner.console_text import metric_name
from attuner.models.exports import TITLES
from attuner.publishing.exported import Exported
from attuner.publishing.measuring import Measured
from attuner.training.disk import size


def export_lines(made: Exported) -> list[str]:
    """Lines for a person."""
    title = TITLES.get(made.format, made.format)
    lines = [f"Exported {made.model} for {title} ({made.number_format}): {made.folder}"]
    if made.original is None or made.exported is None:
        lines += [
            f"Size {size(made.num_bytes)}, the model's {size(made.model_bytes)}.",
            "It was not compared with its model.",
        ]
        return [*lines, *_usage(made)]
    lines += ["", f"Compared with its model on {made.examples}:"]
    names = list(made.original.scores)
    head = "".join(f"{metric_name(name):>{_width(name)}}" for name in names)
    lines.append(f"{'':8}{'size':>10}{head}{'a second':>11}  computed by")
    for who, side in (("model", made.original), ("export", made.exported)):
        lines.append(_row(who, side, names))
    lines.append(f"The same for {made.num_equal:,} of {made.num_examples:,}.")
    if made.is_worse:
        lines.append(
            f"It is worse by {made.fall:.2f}, more than {made.margin:g}, and kept all the same."
        )
    return [*lines, *_usage(made)]


def _row(who: str, side: Measured, names: list[str]) -> str:
    scores = "".join(f"{side.scores[name]:{_width(name)}.2f}" for name in names)
    return f"{who:8}{size(side.num_bytes):>10}{scores}{side.per_second:11.1f}  {side.engine}"


def _width(name: str) -> int:
    return max(9, len(metric_name(name)) + 2)


def _usage(made: Exported) -> list[str]:
    command = "classify" if made.gives_labels else "translate"
    card = [made.card] if made.card else []
    return [*card, "", f'Use it: attuner {command} {made.folder} "A text."']
