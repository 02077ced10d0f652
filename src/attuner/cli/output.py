"""What commands show: progress and results, for a person or for a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attuner.console import Display
    from attuner.training.result import Run


@contextmanager
def open_display(as_json: bool) -> Iterator[Display]:
    """Where progress is shown: use it in a `with`.

    Beside JSON whatever is printed inside, by libraries too, goes to standard error.
    """
    from attuner.console import Display, build_console

    with ExitStack() as stack:
        if as_json:  # before the bar, which puts back the standard output that it found
            stack.enter_context(redirect_stdout(sys.stderr))
        yield stack.enter_context(Display(build_console(as_json)))


def report(run: Run, as_json: bool) -> None:
    """The result of a run for scripts; a person has seen it already."""
    from attuner.training.launch import is_main

    if as_json and is_main():
        print_json(
            {
                "run": str(run.folder),
                "model": str(run.model_folder),
                "before": dict(run.before),
                "after": dict(run.after),
                "seconds": run.seconds,
                "counts": run.counts,
                **({"seeds": run.spreads} if run.spreads else {}),
                **({"hub_url": run.hub_url} if run.hub_url else {}),
            }
        )


def print_json(value: Any) -> None:
    """Write one line of JSON on standard output."""
    from attuner.text_streams import write_json

    write_json(value, sys.stdout)
