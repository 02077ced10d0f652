"""Commands that hand a model on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attuner.cli.options import JsonOption
from attuner.cli.output import open_display, print_json
from attuner.errors import UsageError


def push(
    place: Annotated[
        Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder or a model folder.")
    ],
    hub_id: Annotated[
        str | None,
        typer.Argument(
            metavar="HUB_ID",
            show_default=False,
            help="Repository: user/name or organisation/name; a bare name is one of yours. Where "
            "not given, as the run's recipe says, or named as the run.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Push what the run could not push.")
    ] = False,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            show_default=False,
            help="Who can see a new repository; you alone, unless the run's recipe says otherwise.",
        ),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    tag: Annotated[str | None, typer.Option(help="Git tag for the commit.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a repository that holds something else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Push a run's model, or its state so far, to the Hugging Face Hub."""
    from attuner.publishing import pushing

    if resume and (hub_id, private, message, tag) != (None, None, None, None):
        raise UsageError(
            "--resume was given with other options.",
            "It pushes what a run could not push, as it was to be pushed.",
            f"Type: attuner push --resume {place}, or leave --resume out.",
        )
    with open_display(as_json) as display:
        if resume:
            done = pushing.push_rest(place, force=force, listener=display)
        else:
            done = pushing.push(
                place, hub_id, private=private, message=message, tag=tag, force=force,
                listener=display,
            )  # fmt: skip
    if as_json:
        print_json({"hub_id": done.hub_id, "hub_url": done.url})
    else:
        typer.echo(f"Pushed: {done.url}")
