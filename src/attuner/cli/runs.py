"""Commands that look at runs: list them, show one, compare several."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attuner.cli.options import JsonOption
from attuner.cli.output import print_json
from attuner.errors import UsageError

if TYPE_CHECKING:
    from attuner.training.past import PastRun

FolderOption = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Folder that holds the run folders.")
]
_RUNS = Path("runs")


def list_runs(folder: FolderOption = _RUNS, as_json: JsonOption = False) -> None:
    """List the runs, the latest last."""
    from attuner.training.past_reading import find_runs

    runs, skipped = find_runs(folder)
    if as_json:
        print_json({"runs": [_summary(run) for run in runs], "skipped": skipped})
        return
    from attuner.console import build_console
    from attuner.runs_view import render_list

    render_list(runs, skipped, build_console())


def show_run(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a run's name.")],
    folder: FolderOption = _RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show a run: recipe, data, scores, curves."""
    from attuner.runs_view import chosen_options, render_run
    from attuner.training.events import DataPrepared
    from attuner.training.past_reading import find_run, read_run

    run = read_run(find_run(name, folder))
    if as_json:
        data = run.last(DataPrepared)
        found = {
            **_summary(run),
            "options": chosen_options(run),
            "counts": {} if data is None else data.counts,
            "intervals": run.intervals,
            "signatures": run.signatures,
            "epochs": [
                {"epoch": e.epoch, "step": e.step, "train_loss": e.train_loss, "scores": e.scores}
                for e in run.curve
            ],
            "unreadable_lines": run.num_unreadable,
        }
        print_json(found)
        return
    from attuner.console import build_console

    render_run(run, build_console())


def compare_command(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", help="Run folders, or names of runs.")
    ],
    folder: FolderOption = _RUNS,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The picture; compare-RUN-RUN.png if not given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs with the first one named: options, scores, whether they differ by chance."""
    from dataclasses import asdict

    from attuner.training.comparison import compare_runs
    from attuner.training.past_reading import find_run, read_run

    if len(names) < 2:
        raise UsageError(
            "Only one run was named.",
            "A comparison is of two runs, or more.",
            f"Type: attuner runs compare {names[0]} OTHER, or: attuner runs show {names[0]}",
        )
    runs = [read_run(find_run(name, folder)) for name in names]
    times = Counter(run.name for run in runs)
    twice = [name for name in times if times[name] > 1]
    if twice:
        raise UsageError(
            f"{twice[0]} was named twice.", "Runs are told apart by the names of their folders."
        )
    found = compare_runs(runs)
    picture = _draw(runs, plot or folder / f"compare-{'-'.join(run.name for run in runs)}.png")
    if as_json:
        print_json(
            {
                "runs": [_summary(run) for run in runs],
                "options": found.options,
                "same_examples": found.num_examples,
                "differences": {
                    name: {metric: asdict(one) for metric, one in of.items()}
                    for name, of in found.differences.items()
                },
                "warnings": found.warnings,
                "plot": None if picture is None else str(picture),
            }
        )
        return
    from attuner.console import build_console
    from attuner.runs_view import render_comparison

    render_comparison(found, build_console(), picture)


def _draw(runs: list[PastRun], path: Path) -> Path | None:
    """Draw the curves; None where no run has any yet."""
    from attuner.console_text import metric_name
    from attuner.errors import RunError
    from attuner.evaluation.compared_curves import plot_runs
    from attuner.runs_view import curves_of, loss_unit_of, shared_metric

    metric = shared_metric(runs)
    curves = [curves_of(run, metric) for run in runs]
    if not any(one.updates or one.scores for one in curves):
        return None
    try:
        plot_runs(curves, path, metric=metric_name(metric), unit=loss_unit_of(runs))
    except (OSError, ValueError) as error:  # matplotlib's ValueError lists the formats it knows
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{path} cannot be written: {reason}.",
            "The curves are drawn into a PNG file.",
            "Name another one: --plot FILE",
        ) from error
    return path


def _summary(run: PastRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "folder": str(run.folder.path),
        "task": run.options["task"].get("name"),
        "model": run.model,
        "state": run.state,
        "step": run.step,
        "num_steps": run.num_steps,
        "seeds": run.num_seeds,
        "began": run.began or None,
        "seconds": run.seconds,
        "split": run.split,
        "metric": run.main_metric,
        "before": run.before,
        "after": run.after,
    }
