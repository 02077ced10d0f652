"""How the answer of `attuner check` on labelled data looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from attuner.console_text import data_lines, printable
from attuner.data.labels import names_in
from attuner.inspection_view import cost_lines, lengths_table, render, say, table
from attuner.training.check import Checked
from attuner.training.events import DataPrepared

if TYPE_CHECKING:
    from attuner.training.label_check import CheckedLabels, ShownLabel

_MOST_LABELS = 30


def render_any(checked: Checked | CheckedLabels, console: Console) -> None:
    """Print what a check found, of text → text or of labels."""
    if isinstance(checked, Checked):
        render(checked, console)
    else:
        render_labels(checked, console)


def render_labels(checked: CheckedLabels, console: Console) -> None:
    """Print what a check found.

    Args:
        checked: The answer of `training.label_check.check_labels`.
        console: Where to.
    """
    if checked.cost is not None:
        say(console, data_lines(DataPrepared(checked.counts, checked.notes)))
        _render_label_counts(checked, console)
        lengths_table(checked.lengths, "text", console)
        say(console, ["", *cost_lines(checked.cost, "scoring")])
        say(console, ["", "The first examples as the model sees them:"])
    if checked.num_found is not None:
        hold = "example holds" if checked.num_found == 1 else "examples hold"
        say(console, [f"{checked.num_found:,} {hold} this text."])
    for shown in checked.shown:
        say(console, ["", *label_example_lines(shown)])


def label_example_lines(shown: ShownLabel) -> list[str]:
    """One example in full: texts, label, tokens, and what the untuned model says."""
    label = f"{shown.label:g}" if isinstance(shown.label, float) else ", ".join(
        names_in(shown.label)
    )  # fmt: skip
    kept, cut = shown.tokens[: shown.limit], len(shown.tokens) - shown.limit
    tokens = " ".join(map(printable, kept)) + (f" ... {cut} more are cut" if cut > 0 else "")
    pair = [] if shown.text_pair is None else [f"  and       {printable(shown.text_pair)}"]
    untuned = [] if shown.output is None else [f"  untuned   {printable(shown.output)}"]
    return [
        f"Example {shown.row:,} ({shown.part}), {shown.address}",
        f"  text      {printable(shown.text)}",
        *pair,
        f"  label     {printable(label) or 'none'}",
        *untuned,
        f"  {len(shown.tokens):>3} tokens: {tokens}",
    ]


def _render_label_counts(checked: CheckedLabels, console: Console) -> None:
    """Examples of each label by part; of many labels, the rarest."""
    if not checked.labels:
        return
    names = list(checked.labels["train"])
    shown = names
    if len(names) > _MOST_LABELS:
        shown = sorted(names, key=lambda name: checked.labels["train"][name])[:_MOST_LABELS]
    rows = [(name, *(f"{counts[name]:,}" for counts in checked.labels.values())) for name in shown]
    table(console, ["label", *checked.labels], rows, numbers=range(1, len(checked.labels) + 1))
    if len(names) > len(shown):
        more = len(names) - len(shown)
        say(console, [f"... and {more:,} labels with more examples (all with --json)."])
