"""How `attuner runs` looks: tables, scores and curves, in a terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from attuner.console import encodable
from attuner.console_text import (
    bad_loss_lines,
    data_lines,
    duration,
    finished_lines,
    metric_name,
    plan_lines,
    result_lines,
    score_header,
    score_row,
)
from attuner.evaluation.bootstrap import NUM_RESAMPLES
from attuner.evaluation.compared_curves import RunCurves, running_mean
from attuner.evaluation.metric_names import loss_unit
from attuner.evaluation.paired import Difference
from attuner.inspection_view import say, table
from attuner.recipe_faults import show
from attuner.terminal_plot import Curve, plot
from attuner.training.changes import leaves
from attuner.training.comparison import RunComparison
from attuner.training.events import (
    BadLoss,
    DataPrepared,
    Delivered,
    Evaluated,
    Finished,
    Planned,
    Stepped,
)
from attuner.training.past import PastRun

_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")
_LONGEST_NAME = 24
_HEIGHT = 8
_SIGNIFICANT = 0.05


def render_list(runs: Sequence[PastRun], skipped: Mapping[str, str], console: Console) -> None:
    """Print a line for each run, with as many columns as there is room for.

    Args:
        runs: The runs.
        skipped: Folders that were passed over, with the reasons.
        console: Where to.
    """
    arrow = arrow_of(console)
    columns = {
        "run": [_short(run.name) for run in runs],
        "scores": [main_scores(run, arrow) for run in runs],
        "state": [run.state for run in runs],
        "began": [run.began[:10] for run in runs],
        "took": [took(run) for run in runs],
        "task": [run.task.replace("→", arrow) for run in runs],
        "model": [_short(run.model.rstrip("/").rsplit("/", 1)[-1]) for run in runs],
    }
    widths = {name: max(map(len, [name, *cells])) + 3 for name, cells in columns.items()}
    fits: list[str] = []
    room = console.width
    for name in columns:
        room -= widths[name]
        if room >= 0 or not fits:
            fits.append(name)
    if runs:
        table(console, fits, list(zip(*(columns[name] for name in fits), strict=True)))
    lines = [] if runs else ["There are no runs."]
    if runs and len(fits) < len(columns):
        left_out = ", ".join(name for name in columns if name not in fits)
        lines.append(f"For want of room without {left_out}: all is in --json.")
    if skipped:
        lines.append(
            f"{len(skipped):,} {'folder was' if len(skipped) == 1 else 'folders were'} passed over:"
        )
        lines += [f"  {name}: {reason}" for name, reason in skipped.items()]
    say(console, lines)


def render_run(run: PastRun, console: Console) -> None:
    """Print all that a run folder tells.

    Raises:
        RunError: Its recipe is none that this version knows.
    """
    arrow = arrow_of(console)
    began = f", begun {run.began[:16].replace('T', ' ')} UTC" if run.began else ""
    say(console, [f"{run.folder.path}: {run.state}{_progress(run)}{began}"])
    say(console, [f"{run.task.replace('→', arrow)}, from {run.model}"])
    chosen = chosen_options(run)
    if chosen:
        width = max(map(len, chosen))
        say(console, ["", "Options other than the defaults:"])
        say(console, [f"  {name:{width}}  {show(value)}" for name, value in chosen.items()])
    for event in (run.last(DataPrepared), run.last(Planned)):
        if isinstance(event, DataPrepared):
            say(console, ["", *data_lines(event)])
        elif event is not None:
            say(console, plan_lines(event))
    _render_epochs(run, console)
    if run.seeds:
        _render_seeds(run, console)
    for bad in run.of(BadLoss):
        say(console, bad_loss_lines(bad))
    finished, delivered = run.last(Finished), run.last(Delivered)
    if finished is not None:
        say(console, finished_lines(finished))
    if delivered is not None:
        say(console, result_lines(delivered, arrow))
    losses = {"training": _losses(run), "validation": _curve(run, "loss")}
    _render_plot("Loss", losses, console)
    metric = run.main_metric
    if metric:
        _render_plot(f"{metric_name(metric)} on validation", {"": _curve(run, metric)}, console)
    lines = [f"Curves: {run.folder.curves}"] if run.folder.curves.is_file() else []
    if run.num_unreadable:
        lines.append(f"Lines that tell of no event that is known: {run.num_unreadable:,}.")
    if run.state == "stopped":
        lines.append(f"Go on with it: attuner train --resume {run.folder.path}")
    say(console, ["", *lines] if lines else [])


def render_comparison(found: RunComparison, console: Console, picture: Path | None) -> None:
    """Print runs side by side.

    Args:
        found: The answer of `compare_runs`.
        console: Where to.
        picture: The PNG with the curves, if there is one.
    """
    names, arrow = [run.name for run in found.runs], arrow_of(console)
    if found.options:
        rows = [(name, *map(show, values)) for name, values in found.options.items()]
        table(console, ["option", *names], rows)
    else:
        say(console, ["The recipes have the same options."])
    examples = f", {found.num_examples:,} examples, the same in all" if found.num_examples else ""
    splits = " and ".join(dict.fromkeys(run.split for run in found.runs if run.split))
    if found.metrics:
        say(console, ["", f"Scores on {splits}, before {arrow} after tuning{examples}:"])
        table(
            console,
            ["", *names],
            [
                (metric_name(metric), *(_change(run, metric, arrow) for run in found.runs))
                for metric in found.metrics
            ],
            numbers=range(1, len(names) + 1),
        )
    for name, differences in found.differences.items():
        say(console, difference_lines(name, names[0], differences))
    say(console, found.warnings)
    metric = shared_metric(found.runs)
    _render_plot(
        "Loss on validation", {run.name: _curve(run, "loss") for run in found.runs}, console
    )
    if metric:
        curves = {run.name: _curve(run, metric) for run in found.runs}
        _render_plot(f"{metric_name(metric)} on validation", curves, console)
    if picture is not None:
        say(console, ["", f"Curves: {picture}"])


def difference_lines(name: str, base: str, differences: Mapping[str, Difference]) -> list[str]:
    """How far a run's scores are above another's, and whether that may be chance."""
    if not differences:
        return []
    width = max(len(metric_name(metric)) for metric in differences)
    lines = [f"{name} against {base}, paired bootstrap of {NUM_RESAMPLES:,} resamples:"]
    for metric, found in differences.items():
        low, high = found.interval
        chance = "" if found.p_value < _SIGNIFICANT else ": may be chance"
        lines.append(
            f"  {metric_name(metric):{width}}  {found.value:+.2f} [{low:+.2f}, {high:+.2f}], "
            f"p = {found.p_value:.3f}{chance}"
        )
    return lines


def chosen_options(run: PastRun) -> dict[str, Any]:
    """Options of a run's recipe that are not as they are where the recipe does not say.

    Raises:
        RunError: Its recipe is none that this version knows.
    """
    from attuner.recipe import Recipe

    def given(recipe: Recipe) -> dict[str, Any]:
        return dict(leaves(recipe.model_dump(mode="json", exclude_defaults=True)))

    recipe = run.recipe()
    task = recipe.task.model_dump(mode="json")
    plain = given(Recipe.model_validate({"task": task, "model": "x", "data": "x"}))
    return {
        name: value
        for name, value in given(recipe).items()
        if name.startswith("task.") or (plain.get(name) != value and name[:7] != "output.")
    }


def curves_of(run: PastRun, metric: str) -> RunCurves:
    """What the picture shows of a run."""
    best = [event.epoch for event in run.curve if event.is_best]
    return RunCurves(
        run.name,
        [(event.epoch, event.loss) for event in run.of(Stepped)],
        _curve(run, "loss"),
        _curve(run, metric),
        best[-1] if best else None,
    )


def shared_metric(runs: Sequence[PastRun]) -> str:
    """What is drawn of runs: the first one's main metric, if any has it on validation."""
    metric = runs[0].main_metric
    return metric if any(_curve(run, metric) for run in runs) else ""


def loss_unit_of(runs: Iterable[PastRun]) -> str:
    """What the loss is a mean over."""
    tasks = [run.options["task"].get("name") for run in runs]
    return loss_unit(of_labels="classification" in tasks)


def main_scores(run: PastRun, arrow: str) -> str:
    """The main score in a few characters."""
    metric = run.main_metric
    return f"{metric_name(metric)} {_change(run, metric, arrow)}" if metric else ""


def took(run: PastRun) -> str:
    """How long a run took, or how far it is."""
    if run.num_seeds > 1 and run.state != "finished":
        return f"{len(run.seeds)} of {run.num_seeds} seeds"
    if run.seconds is not None:
        return duration(run.seconds)
    return f"step {run.step:,} of {run.num_steps:,}" if run.num_steps else ""


def arrow_of(console: Console) -> str:
    """An arrow that the console can write."""
    return "→" if _is_utf(console) else "->"


def _is_utf(console: Console) -> bool:
    return (console.encoding or "").lower().startswith("utf")


def _progress(run: PastRun) -> str:
    text = took(run)
    return "" if not text else f" in {text}" if run.state == "finished" else f" at {text}"


def _change(run: PastRun, metric: str, arrow: str) -> str:
    before, after = (
        f"{scores[metric]:.2f}" if metric in scores else "" for scores in (run.before, run.after)
    )
    return f"{before} {arrow} {after}".strip() if before or after else ""


def _render_epochs(run: PastRun, console: Console) -> None:
    """The growing table of the run, as it was."""
    rows = [e for e in run.of(Evaluated) if e.split == "validation" and e.when != "after"]
    if rows:
        metrics = [name for name in rows[0].scores if name != "loss" and "/" not in name]
        lines = [score_row(row, metrics).replace("* best so far", "*") for row in rows]
        say(console, ["", score_header(metrics), *lines])


def _render_seeds(run: PastRun, console: Console) -> None:
    metrics = [*run.after]
    rows = [
        (f"seed {one.seed}", *(f"{one.after.get(metric, math.nan):.2f}" for metric in metrics))
        for one in run.seeds
    ]
    mean = ("mean", *(f"{run.after[metric]:.2f}" for metric in metrics))
    say(console, ["", f"Scores on {run.split} after tuning; each seed has a run folder of its own"])
    table(
        console,
        ["", *map(metric_name, metrics)],
        [*rows, mean],
        numbers=range(1, len(metrics) + 1),
    )


def _render_plot(
    title: str, curves: Mapping[str, Sequence[tuple[float, float]]], console: Console
) -> None:
    """Print curves of two points or more."""
    finite = {
        name: [point for point in points if math.isfinite(point[1])]
        for name, points in curves.items()
    }
    shown = [Curve(_short(name), points) for name, points in finite.items() if len(points) > 1]
    if not shown:
        return
    say(console, ["", f"{title}, by epoch"])
    width = min(console.width, 100)
    for cells in plot(shown, width=width, height=_HEIGHT, is_ascii=not _is_utf(console)):
        line = Text()
        for cell in cells:
            style = "" if cell.curve is None else _STYLES[cell.curve % len(_STYLES)]
            line.append(encodable(cell.text, console), style)
        console.print(line, no_wrap=True, overflow="crop", crop=True)


def _losses(run: PastRun) -> Sequence[tuple[float, float]]:
    return running_mean([(event.epoch, event.loss) for event in run.of(Stepped)])


def _curve(run: PastRun, metric: str) -> list[tuple[float, float]]:
    return [(e.epoch, e.scores[metric]) for e in run.curve if metric in e.scores]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..."
