"""Commands that look at the data and train."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attuner.cli.options import (
    CheckpointOption,
    DataOption,
    JsonOption,
    LabelOption,
    RecipeArguments,
    SourceColumnOption,
    SourceOption,
    TargetColumnOption,
    TargetOption,
    TaskOption,
    TextOption,
    TextPairOption,
    TrainArguments,
)
from attuner.cli.output import open_display, print_json, report
from attuner.errors import ModelError, UsageError

if TYPE_CHECKING:
    from attuner.recipe import Recipe
    from attuner.training.events import Listener


def check(
    arguments: RecipeArguments = None,
    row: Annotated[int | None, typer.Option(help="Show this example, counted from 1.")] = None,
    find: Annotated[str | None, typer.Option(help="Show examples that hold this text.")] = None,
    model_output: Annotated[
        bool, typer.Option("--model-output", help="With them, what the untuned model says.")
    ] = False,
    task: TaskOption = None,
    model: CheckpointOption = None,
    data: DataOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    source_column: SourceColumnOption = None,
    target_column: TargetColumnOption = None,
    text: TextOption = None,
    text_pair: TextPairOption = None,
    label: LabelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what training will see, before any training.

    Counts by reason, lengths in tokens, duplicates, leaks, suspicious pairs, time and memory.
    """
    from attuner.training.check import check as check_recipe
    from attuner.training.check import to_json

    flags = {
        "task": task, "model": model, "data": data, "source": source, "target": target,
        "source_column": source_column, "target_column": target_column,
        "text": text, "text_pair": text_pair, "label": label,
    }  # fmt: skip
    recipe = _load(arguments, flags)
    with open_display(as_json) as display:
        checked = check_recipe(
            recipe, row=row, find=find, model_output=model_output, listener=display
        )
    if as_json:
        print_json(to_json(checked))
    else:
        from attuner.console import build_console
        from attuner.labels_view import render_any

        render_any(checked, build_console())
    if checked.is_refused:
        raise typer.Exit(ModelError.exit_code)


def train(
    arguments: TrainArguments = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run: the folder given, that of the recipe given, hub:ID of one that "
            "was pushed, or the latest one.",
        ),
    ] = False,
    inexact: Annotated[
        bool,
        typer.Option(
            "--inexact",
            help="With --resume: take changed options though the result is of neither recipe.",
        ),
    ] = False,
    task: TaskOption = None,
    model: CheckpointOption = None,
    data: DataOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    source_column: SourceColumnOption = None,
    target_column: TargetColumnOption = None,
    text: TextOption = None,
    text_pair: TextPairOption = None,
    label: LabelOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the run folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a model by a recipe, and compare it with what it was."""
    flags = {
        "task": task, "model": model, "data": data,
        "source": source, "target": target, "name": name,
        "source_column": source_column, "target_column": target_column,
        "text": text, "text_pair": text_pair, "label": label,
    }  # fmt: skip
    if resume:
        _resume(arguments or (), flags, inexact, as_json)
    elif inexact:
        raise UsageError(
            "--inexact was given without --resume.", "It allows a run to go on with other options."
        )
    else:
        train_by(_load(arguments, flags), as_json)


def train_by(recipe: Recipe, as_json: bool) -> None:
    """Train by a recipe, and show the result."""
    from attuner.publishing.pusher import Pusher
    from attuner.training.run import train as train_run

    with open_display(as_json) as display, Pusher([display]) as pusher:
        run = train_run(recipe, listeners=[display, pusher])
    report(pusher.with_url(run), as_json)


def _load(arguments: Sequence[str] | None, flags: dict[str, Any]) -> Recipe:
    """The recipe that a command line means: a file first, if any, then overrides."""
    from attuner.recipe_loading import load_recipe

    rest = list(arguments or ())
    is_file = bool(rest) and ("=" not in rest[0] or os.path.isfile(rest[0]))
    path = Path(rest.pop(0)) if is_file else None
    return load_recipe(path, rest, flags)


def _resume(arguments: Sequence[str], flags: dict[str, Any], inexact: bool, as_json: bool) -> None:
    """Go on with the run that the arguments name: a folder, or that of a recipe.

    A run that a recipe names is begun where there is none yet: so a job that is started again and
    again types the same each time.
    """
    from attuner.publishing.fetching import fetch_run, is_on_hub
    from attuner.publishing.pusher import Pusher
    from attuner.recipe_loading import load_recipe

    words = [text for text in arguments if "=" not in text or os.path.exists(text)]
    overrides = [text for text in arguments if text not in words]
    files = [Path(text) for text in words if _is_recipe_name(text)]
    folders = [Path(text) for text in words if not _is_recipe_name(text)]
    if len(files) > 1 or len(folders) > 1:
        raise UsageError(
            f"--resume was given {', '.join(words)}.",
            "Expected one run folder, one recipe file, or one of each.",
            "Type: attuner train --resume runs/NAME",
        )
    if folders and flags["name"] is not None:
        raise UsageError(
            "--name was given with a run folder.",
            "A run that is resumed stays in its folder.",
            f"Type: attuner train --resume {folders[0]}",
        )
    with open_display(as_json) as display, Pusher([display]) as pusher:
        told: list[Listener] = [display, pusher]
        if not folders and (files or any(flags.values())):
            from attuner.training.run import begin_or_resume

            wanted = load_recipe(next(iter(files), None), overrides, flags)
            run = begin_or_resume(wanted, inexact=inexact, listeners=told)
        else:
            from attuner.training.resuming import latest_run
            from attuner.training.run import resume

            folder = folders[0] if folders else latest_run(Path("runs"))
            if is_on_hub(str(folder)):
                folder = fetch_run(str(folder), Path("runs"), display)
            recipe = None
            if files or overrides or any(flags.values()):
                recipe = load_recipe((files or [folder / "recipe.yaml"])[0], overrides, flags)
            run = resume(folder, recipe, inexact=inexact, listeners=told)
    report(pusher.with_url(run), as_json)


def _is_recipe_name(text: str) -> bool:
    """Whether a word of the command line names a recipe, not a run folder."""
    return os.path.isfile(text) or text.endswith((".yaml", ".yml", ".json"))
