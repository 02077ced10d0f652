"""Commands around recipes: the demos, the ready recipes, the schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attuner.cli.options import JsonOption, OverrideArguments
from attuner.cli.output import print_json
from attuner.cli.training import train_by
from attuner.errors import UsageError

if TYPE_CHECKING:
    from attuner.recipe import Recipe

_DEMOS = {"translation": "demo", "classification": "demo-classification"}


def demo(
    arguments: OverrideArguments = None,
    task: Annotated[str, typer.Option(help="translation or classification.")] = "translation",
    as_json: JsonOption = False,
) -> None:
    """Tune a small model on real data, in minutes, without a network.

    The embedded model translates catalogs; or MiniLM, from a Python package, rates reviews.
    """
    from attuner.errors import nearest
    from attuner.ready_recipes import ready_recipe
    from attuner.recipe_loading import load_recipe

    if task not in _DEMOS:
        raise UsageError(f'There is no demo of "{task}".', nearest(task, _DEMOS))
    recipe = load_recipe(ready_recipe(_DEMOS[task]), arguments or ())
    train_by(_with_free_name(recipe), as_json)


def _with_free_name(recipe: Recipe) -> Recipe:
    """The recipe with a run folder that does not exist yet: demo, demo-2, demo-3, ..."""
    folder, name, number = Path(recipe.output.folder), recipe.output.name, 1
    while os.path.exists(folder / name):  # unlike Path.exists, never raises
        number += 1
        name = f"{recipe.output.name}-{number}"
    return recipe.model_copy(update={"output": recipe.output.model_copy(update={"name": name})})


def list_command(as_json: JsonOption = False) -> None:
    """List the ready recipes, and configurations for accelerate launch."""
    from attuner.ready_recipes import list_launches, list_recipes

    recipes, launches = list_recipes(), list_launches()
    if as_json:
        print_json({"recipes": recipes, "launches": launches})
        return
    width = max(map(len, (*recipes, *launches)))
    for name, summary in recipes.items():
        typer.echo(f"{name:{width}}  {summary}")
    typer.echo("\nFor accelerate launch --config_file:")
    for name, summary in launches.items():
        typer.echo(f"{name:{width}}  {summary}")


def copy_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")],
    destination: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; NAME.yaml if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a ready recipe, or a configuration for accelerate launch, into a file of your own."""
    from attuner.ready_recipes import copy_recipe, list_launches

    written = copy_recipe(name, destination)
    use = f"attuner train {written}"
    if name in list_launches():
        use = f"accelerate launch --config_file {written} -m attuner train recipe.yaml"
    if as_json:
        print_json({"recipe": str(written)})
    else:
        typer.echo(f"Wrote {written}. Train with it: {use}")


def schema(as_json: JsonOption = False) -> None:
    """Print the recipe's JSON schema, for editors: over many lines, or with --json on one."""
    import json

    from attuner.recipe import Recipe

    made = Recipe.model_json_schema()
    if as_json:
        print_json(made)
    else:
        typer.echo(json.dumps(made, indent=2))
