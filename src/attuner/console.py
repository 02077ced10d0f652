"""What a person sees of a run: lines, a growing table of scores, a bar with the time left.

The same lines go to a terminal, a log and a notebook. Only the progress differs: a bar where
it can be redrawn, else a line now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from attuner.console_text import (
    bad_loss_lines,
    comparison_lines,
    data_lines,
    duration,
    finished_lines,
    plan_lines,
    printable,
    relabelled_lines,
    result_lines,
    score_header,
    score_line,
    score_row,
    seeds_lines,
    split_lines,
)
from attuner.training import events

if TYPE_CHECKING:
    from rich.progress import TaskID

_LINE_EVERY_SECONDS = 10.0
_LINE_EVERY_SHARE = 0.0499  # 5 %, with room for rounding
_LOG_WIDTH = 100
_NARROWEST_TABLE = 72
_TRANSLATED = ("Source", "Before", "After", "Reference")
_LABELLED = ("Text", "Before", "After", "Label")


def build_console(as_json: bool = False) -> Console:
    """Where a person reads: standard output, or standard error beside JSON."""
    console = Console(stderr=as_json, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and not console.is_jupyter and "COLUMNS" not in os.environ:
        console.width = _LOG_WIDTH
    return console


class Display:
    """A listener that shows a run. Use it in a `with` block, which ends the bar.

    Args:
        console: Where to; `build_console()` if not given.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or build_console()
        can_redraw = self._console.is_terminal and not self._console.is_dumb_terminal
        if self._console.is_jupyter:
            can_redraw = find_spec("ipywidgets") is not None
        self._progress: _Bar | _Lines = _Bar(self._console) if can_redraw else _Lines(self._console)
        self._metrics: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.DataPrepared():
                self._say(data_lines(event))
            case events.Planned():
                self._say(plan_lines(event))
            case events.Stepped():
                self._progress.step(event)
            case events.Progressed():
                self._progress.work(event)
            case events.Evaluated():
                self._show_scores(event)
            case events.BadLoss():
                self._say(bad_loss_lines(event))
            case events.Split():
                self._say(split_lines(event))
            case events.Finished():
                self._say(finished_lines(event))
            case events.Compared():
                self._progress.stop()
                self._say(comparison_lines(event))
                render_examples(event.rows, self._console)
            case events.Relabelled():
                self._progress.stop()
                self._say(relabelled_lines(event))
                render_examples(event.rows, self._console, _LABELLED)
            case events.Delivered():
                self._progress.stop()
                self._say(result_lines(event, _arrow(self._console)))
            case events.SeedsCompared():
                self._progress.stop()
                self._say(seeds_lines(event))
            case events.Noted():
                self._say([event.text])

    def _show_scores(self, event: events.Evaluated) -> None:
        """A row of the growing table; what is not validation, in a line of its own."""
        if event.split != "validation":
            self._say([score_line(event)])
            return
        if self._metrics is None:
            # Those of single languages would not fit: they are in the lines of the end.
            self._metrics = [name for name in event.scores if name != "loss" and "/" not in name]
            self._say(["", score_header(self._metrics)])
        self._say([score_row(event, self._metrics)])

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.print(Text(encodable(line, self._console)), soft_wrap=True)


def render_examples(
    rows: Sequence[events.Comparison], console: Console, titles: Sequence[str] = _TRANSLATED
) -> None:
    """Print outputs before and after tuning: a table where it fits."""
    table = Table(*titles, show_lines=True)
    for row in rows:
        cells = [
            encodable(printable(text), console)
            for text in (row.source, row.before, row.after, row.reference)
        ]
        if console.width < _NARROWEST_TABLE:
            for title, cell in zip(titles, cells, strict=True):
                console.print(Text(f"{title:9} {cell}"), soft_wrap=True)
            console.print()
        else:
            style = "green" if row.after == row.reference else ""
            source, before, after, reference = cells
            table.add_row(Text(source), Text(before), Text(after, style=style), Text(reference))
    if table.row_count:
        console.print(table)


class _Clock:
    """The time left of several works, one inside the other: training goes on between scorings."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}
        self._last: dict[str, int] = {}

    def left(self, what: str, done: int, total: int) -> str:
        """Time left in words, from the pace so far; "" where it cannot be told."""
        now = time.monotonic()
        if done < self._last.get(what, done + 1):
            self._begun[what] = now, done
        self._last[what] = done
        began, first = self._begun[what]
        if done <= first or done > total:
            return ""
        return f"{duration((now - began) / (done - first) * (total - done))} left"


class _Bar:
    """Progress that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()
        self._bar: Progress | None = None
        self._what = ""
        self._task: TaskID | None = None

    def step(self, event: events.Stepped) -> None:
        text = f"Training, epoch {event.epoch:.2f}, loss {event.loss:.3f}"
        self._update("Training", text, event.step, event.num_steps)

    def work(self, event: events.Progressed) -> None:
        self._update(event.what, event.what.capitalize(), event.done, event.total)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._task = None

    def _update(self, what: str, text: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        if self._task is not None and what != self._what:
            self._bar.remove_task(self._task)
            self._task = None
        self._what = what
        if self._task is None:
            self._task = self._bar.add_task(text, total=None, left="")
        self._bar.update(
            self._task,
            description=encodable(text, self._console),
            completed=done,
            total=total or None,
            left=self._clock.left(what, done, total),
        )


class _Lines:
    """Progress as a line each 10 seconds or 5 %, whichever is rarer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()
        self._said: dict[str, tuple[float, float]] = {}  # when, and at which share of the work

    def step(self, event: events.Stepped) -> None:
        text = f"epoch {event.epoch:.2f}, loss {event.loss:.3f}"
        self._update("Training: step", event.step, event.num_steps, text)

    def work(self, event: events.Progressed) -> None:
        self._update(event.what.capitalize(), event.done, event.total, "")

    def stop(self) -> None:
        pass

    def _update(self, what: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        share = done / total if total else 0.0
        left = self._clock.left(what, done, total)
        last_time, last_share = self._said.get(what, (now, 0.0))
        if share < last_share or what not in self._said:  # begun, or begun again
            self._said[what] = now, share
            return
        waited = now - last_time >= _LINE_EVERY_SECONDS
        if not waited or (total and share - last_share < _LINE_EVERY_SHARE):
            return
        self._said[what] = now, share
        of_total = f" of {total:,}" if total else ""
        line = ", ".join(part for part in (f"{what} {done:,}{of_total}", text, left) if part)
        self._console.print(Text(encodable(line, self._console)), soft_wrap=True)


def _arrow(console: Console) -> str:
    return "→" if console.encoding.lower().startswith("utf") else "->"


def encodable(text: str, console: Console) -> str:
    """The text with what the console's encoding lacks written as escapes."""
    encoding = console.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
