"""The command line as a whole: the commands in order, and how one ends."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from attuner.cli.publishing import card, export, push
from attuner.cli.recipes import copy_command, demo, list_command, schema
from attuner.cli.runs import compare_command, list_runs, show_run
from attuner.cli.scoring import evaluate
from attuner.cli.training import check, train
from attuner.cli.using import classify, translate
from attuner.errors import StoppedError, UserError

_ORDER = (
    "demo", "recipes", "check", "train", "runs", "evaluate", "translate", "classify", "card",
    "export", "push", "schema",
)  # fmt: skip


class _Commands(TyperGroup):
    """Lists commands in the order of use; turns what ends one into a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in _ORDER if name in self.commands]

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (UserError, StoppedError) as error:
            from attuner.training.launch import is_shown_here

            if is_shown_here(error):
                typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from error
        except OSError as error:
            # Where the reader has gone (`attuner ... | head`), there is nothing to say.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                typer.echo("The disk is full. Make room, then type it again.", err=True)
            elif not isinstance(error, BrokenPipeError):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # leave no rest to flush
            raise typer.Exit(1) from error
        return result


app = typer.Typer(
    cls=_Commands,
    help="Attune a pretrained text model to your own data, and prove that it became better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's help costs 0.1 s
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(
    help="Ready recipes to start from.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(recipes_app, name="recipes")
runs_app = typer.Typer(
    help="Look at runs: list them, show one, compare several.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(runs_app, name="runs")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot write a character must not stop a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="attuner")
    except KeyboardInterrupt:  # before a command has begun
        typer.echo("Interrupted.", err=True)
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"attuner {version('attuner')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


for command in (demo, check, train, evaluate, translate, classify, card, export, push, schema):
    app.command()(command)
recipes_app.command("list")(list_command)
recipes_app.command("copy")(copy_command)
runs_app.command("list")(list_runs)
runs_app.command("show")(show_run)
runs_app.command("compare")(compare_command)
