"""The curves of several runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Points = Sequence[tuple[float, float]]

# Told apart by eyes that see few colours, too (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True, slots=True)
class RunCurves:
    """What is drawn of a run, over its epochs.

    Attributes:
        name: The run.
        updates: Loss of each update.
        validation_loss: Loss on validation.
        scores: The score that the best weights are told by, on validation.
        delivered: Epoch of the weights that are delivered; None where not known.
    """

    name: str
    updates: Points
    validation_loss: Points
    scores: Points
    delivered: float | None = None


def plot_runs(runs: Sequence[RunCurves], path: Path, *, metric: str, unit: str) -> None:
    """Draw losses and scores of runs side by side.

    Args:
        runs: What to draw.
        path: The PNG to write.
        metric: What `scores` are, in words.
        unit: What the loss is measured in.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, run in enumerate(runs):
        colour = COLOURS[place % len(COLOURS)]
        left.plot(*_columns(running_mean(run.updates)), color=colour, linewidth=0.9, alpha=0.5)
        left.plot(*_columns(run.validation_loss), color=colour, marker="o", markersize=3.5)
        right.plot(
            *_columns(run.scores), color=colour, marker="o", markersize=3.5,
            label=run.name.replace("$", r"\$"),
        )  # fmt: skip
        best = [point for point in run.scores if point[0] == run.delivered]
        right.plot(*_columns(best), color=colour, marker="o", markersize=9, fillstyle="none")
    left.set_title(f"loss, {unit} (thin: training, dots: validation)", fontsize=9)
    right.set_title(f"{metric} on validation (ring: delivered)", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *right.get_legend_handles_labels(),
        loc="outside upper center", ncols=min(len(runs), 4), frameon=False,
    )  # fmt: skip
    figure.savefig(path, dpi=130)


def running_mean(points: Points) -> Points:
    """The points smoothed over a fortieth of them.

    >>> running_mean([(1.0, 4.0), (2.0, 2.0)])
    [(1.0, 4.0), (2.0, 2.0)]
    """
    width = max(1, len(points) // 40)
    smooth, total = [], 0.0
    for place, (x, y) in enumerate(points):
        total += y
        if place >= width:
            total -= points[place - width][1]
        smooth.append((x, total / min(place + 1, width)))
    return smooth


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
