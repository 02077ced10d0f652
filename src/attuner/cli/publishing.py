"""Commands around a model that is handed on: its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attuner.cli.options import JsonOption, ModelArgument
from attuner.cli.output import print_json
from attuner.errors import UsageError


def card(
    model: ModelArgument,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: see that the card's scores are of this very model."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also a card that somebody has written into.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Render the card of a model, README.md in its folder, anew; or check that it is true."""
    from attuner.cards.facts import read_facts
    from attuner.cards.truth import require_true_card, rewrite_card
    from attuner.models.loading import resolve_model

    if check and overwrite:
        raise UsageError("--check and --overwrite were both given.", "--check writes nothing.")
    if not check and not Path(model).is_dir():
        raise UsageError(
            f"{model} is not a folder here: its card cannot be written.",
            "Expected a model folder or a run folder.",
            f"To check the card: attuner card {model} --check",
        )
    folder = resolve_model(model)
    if check:
        facts = require_true_card(folder)
    else:
        facts = read_facts(folder)
        rewrite_card(facts, folder, overwrite=overwrite)
    path = folder / "README.md"
    if as_json:
        print_json({"card": str(path), "is_true": True, "scores": facts.scored.after})
    elif check:
        typer.echo(f"{path} is true: its scores are of the files beside it.")
    else:
        typer.echo(f"Wrote {path}.")
