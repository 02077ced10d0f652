"""What a person sees of a run: lines, a growing table of scores, a bar with the time left.

The same lines go to a terminal, a log and a notebook. Only the progress differs: a bar where
it can be redrawn, else a line now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from attuner.console_text import (
    data_lines,
    duration,
    finished_lines,
    plan_lines,
    printable,
    result_lines,
    score_header,
    score_row,
    usage_lines,
)
from attuner.training import events

if TYPE_CHECKING:
    from rich.progress import TaskID

_LINE_EVERY_SECONDS = 10.0
_LINE_EVERY_SHARE = 0.05
_LOG_WIDTH = 100
_NARROWEST_TABLE = 72


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
        self._signatures: dict[str, str] = {}
        self._metrics: list[str] | None = None
        self._first_step = 0

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
                self._first_step = event.first_step
                self._say(plan_lines(event))
            case events.Stepped():
                self._progress.step(event, self._first_step)
            case events.Progressed():
                self._progress.work(event)
            case events.Evaluated():
                self._evaluated(event)
            case events.Finished():
                self._progress.stop()
                self._say(finished_lines(event))
            case events.Noted():
                self._say([event.text])
            case events.Saved():
                pass  # every few minutes, and in the run folder for all to see

    def show_result(
        self, model_folder: Path, before: Mapping[str, float], after: Mapping[str, float]
    ) -> None:
        """Show the scores before and after, with signatures, and how to use the model."""
        self._progress.stop()
        self._say(result_lines(before, after, self._signatures, _arrow(self._console)))
        self._say(usage_lines(model_folder))

    def show_examples(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Show translations: source, before, after, reference."""
        render_examples(rows, self._console)

    def _evaluated(self, event: events.Evaluated) -> None:
        self._signatures.update(event.signatures)
        if event.split != "validation":
            scores = ", ".join(
                f"{_label} {value:.2f}" for _label, value in event.scores.items() if value == value
            )
            self._say([f"{event.split} {event.when} tuning: {scores}".capitalize()])
            return
        if self._metrics is None:
            self._metrics = [name for name in event.scores if name != "loss"]
            self._say(["", score_header(self._metrics)])
        self._say([score_row(event, self._metrics)])

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.print(Text(_encodable(line, self._console)), soft_wrap=True)


def render_examples(rows: Sequence[tuple[str, str, str, str]], console: Console) -> None:
    """Print translations (source, before, after, reference): a table where it fits."""
    titles = ("Source", "Before", "After", "Reference")
    cells = [[_encodable(printable(cell), console) for cell in row] for row in rows]
    if console.width < _NARROWEST_TABLE:
        for row in cells:
            for title, cell in zip(titles, row, strict=True):
                console.print(Text(f"{title:9} {cell}"), soft_wrap=True)
            console.print()
        return
    table = Table(*titles, show_lines=True, expand=False)
    for row in cells:
        changed = row[1] != row[2]
        style = "" if not changed else "green" if row[2] == row[3] else "bold"
        table.add_row(Text(row[0]), Text(row[1]), Text(row[2], style=style), Text(row[3]))
    console.print(table)


class _Bar:
    """Progress that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._what = ""
        self._task: TaskID | None = None

    def step(self, event: events.Stepped, first_step: int) -> None:
        text = f"Training, epoch {event.epoch:.2f}, loss {event.loss:.3f}"
        self._update("Training", text, event.step, event.num_steps)

    def work(self, event: events.Progressed) -> None:
        self._update(event.what, event.what, event.done, event.total)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._what = ""

    def _update(self, what: str, text: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        text = _encodable(text, self._console)
        if what != self._what or self._task is None:
            if self._task is not None and self._what:
                self._bar.remove_task(self._task)
            self._what = what
            self._task = self._bar.add_task(text, total=total, completed=done)
            return
        self._bar.update(self._task, description=text, completed=done, total=total)


class _Lines:
    """Progress as a line each 10 seconds or 5 %, whichever is rarer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what = ""
        self._began = 0.0
        self._first = 0
        self._last_time = 0.0
        self._last_share = 0.0

    def step(self, event: events.Stepped, first_step: int) -> None:
        text = f"epoch {event.epoch:.2f}, loss {event.loss:.3f}"
        self._update("Training: step", event.step, event.num_steps, text, first_step)

    def work(self, event: events.Progressed) -> None:
        self._update(event.what, event.done, event.total, "", event.done)

    def stop(self) -> None:
        pass

    def _update(self, what: str, done: int, total: int, text: str, first: int) -> None:
        now = time.monotonic()
        share = done / max(total, 1)
        if what != self._what:
            self._what, self._began, self._first = what, now, first
            self._last_time, self._last_share = now, share
            return
        waited = now - self._last_time >= _LINE_EVERY_SECONDS
        if not waited or share - self._last_share < _LINE_EVERY_SHARE:
            return
        self._last_time, self._last_share = now, share
        left = (now - self._began) / max(done - self._first, 1) * (total - done)
        parts = [f"{what} {done:,} of {total:,}", text, f"{duration(left)} left"]
        line = ", ".join(part for part in parts if part)
        self._console.print(Text(_encodable(line, self._console)), soft_wrap=True)


def _arrow(console: Console) -> str:
    return "→" if console.encoding.lower().startswith("utf") else "->"


def _encodable(text: str, console: Console) -> str:
    """The text with what the console's encoding lacks written as escapes."""
    encoding = console.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
