"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

# With more labels, numbers no longer fit into the cells.
_MOST_WITH_NUMBERS = 20
_LONGEST_NAME = 24


def plot_confusion(
    matrix: npt.NDArray[np.int64], names: Sequence[str], path: Path, *, title: str
) -> None:
    """Draw how often each true label (row) was given each label (column).

    Colours are shares of the row, so that rare labels show as well as frequent ones.

    Args:
        matrix: Numbers of examples, (C, C).
        names: The labels.
        path: The PNG to write.
        title: Head of the picture.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(2.6 + 0.5 * len(names), 14)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = [_shortened(name) for name in names]
    size = 9 if len(names) <= _MOST_WITH_NUMBERS else max(3, 180 // len(names))
    axes.set_xticks(range(len(names)), shown, rotation=90 if len(names) > 3 else 0, fontsize=size)
    axes.set_yticks(range(len(names)), shown, fontsize=size)
    if len(names) <= _MOST_WITH_NUMBERS:
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "#222222"
            axes.text(
                column, row, f"{number:,}", ha="center", va="center", color=colour, fontsize=size
            )
    axes.set_xlabel("given")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=11)
    figure.savefig(path, dpi=130)


def _shortened(name: str) -> str:
    """A name that fits beside the picture; `$` would begin a formula."""
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return short.replace("$", r"\$")
