"""What a run shows: curves, and the translations that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attuner.evaluation.compared_curves import running_mean
from attuner.evaluation.metric_names import metric_name


def plot_curves(events: Sequence[Mapping[str, Any]], path: Path, *, title: str, unit: str) -> None:
    """Draw training loss, validation loss and validation scores of a run.

    Args:
        events: Lines of a run's `metrics.jsonl`.
        path: The PNG to write.
        title: Head of the picture.
        unit: What the loss is a mean over.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    steps = [event for event in events if event["event"] == "stepped"]
    scored = [
        event
        for event in events
        if event["event"] == "evaluated" and event["split"] == "validation"
    ]
    # The weights that are delivered may be scored there once more, after the last epoch.
    during = [event for event in scored if event.get("when") != "after"]
    scored = during if len(during) > 1 else scored
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, steps, scored, unit)
    # A run that was resumed may have been scored by other metrics before.
    named = dict.fromkeys(name for event in scored for name in event["scores"])
    metrics = [name for name in named if name != "loss"]
    colours = {"bleu": "#1b6ca8", "chrf": "#c1571a", "ter": "#5a7d2b"}
    for name in metrics:
        metric, _, language = name.partition("/")
        points = [event for event in scored if name in event["scores"]]
        xs, ys = [e["epoch"] for e in points], [e["scores"][name] for e in points]
        if language:  # thin, beside the mean over languages
            colour = colours.get(metric)
            right.plot(xs, ys, linewidth=0.8, linestyle="--", color=colour)
            right.annotate(language, (xs[-1], ys[-1]), (4, -2), textcoords="offset points")
            continue
        right.plot(
            xs, ys, marker="o", markersize=4, color=colours.get(name), label=metric_name(name)
        )
        right.annotate(f"{ys[-1]:.1f}", (xs[-1], ys[-1]), (4, 4), textcoords="offset points")
    bests = [event["epoch"] for event in scored if event["is_best"]]
    if bests:
        right.axvline(bests[-1], color="#999999", linewidth=0.8, linestyle=":")
    right.set_xlabel("epoch")
    right.set_title("validation scores (dotted: delivered)", fontsize=9)
    if metrics:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _draw_loss(
    axes: Any, steps: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]], unit: str
) -> None:
    xs = [event["epoch"] for event in steps]
    axes.plot(xs, [e["loss"] for e in steps], color="#bbbbbb", linewidth=0.7, label="update")
    if len(steps) > 2:
        smooth = [y for _, y in running_mean([(e["epoch"], e["loss"]) for e in steps])]
        axes.plot(xs, smooth, color="#444444", linewidth=1.4, label="training, running mean")
    points = [event for event in scored if "loss" in event["scores"]]
    axes.plot(
        [e["epoch"] for e in points],
        [e["scores"]["loss"] for e in points],
        marker="o",
        markersize=4,
        color="#b02a30",
        label="validation",
    )
    axes.set_xlabel("epoch")
    axes.set_title(f"loss, {unit}", fontsize=9)
    axes.legend(frameon=False)


def sentence_gains(
    before: Sequence[str], after: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """How much nearer each text came to its references, in sentence chrF (Popović 2015).

    Unchanged texts gain exactly 0.
    """
    from sacrebleu.metrics import CHRF

    chrf = CHRF()

    def score(text: str, texts: Sequence[str]) -> float:
        return float(chrf.sentence_score(text, list(texts)).score)

    return [
        0.0 if old == new else score(new, texts) - score(old, texts)
        for old, new, texts in zip(before, after, references, strict=True)
    ]
