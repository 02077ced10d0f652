"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Progress on standard error, the result as JSON.")
]
RecipeArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE section.key=value",
        show_default=False,
        help="A recipe file, and options that override it: training.learning_rate=1e-4",
    ),
]
TrainArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE RUN section.key=value",
        show_default=False,
        help="A recipe file, and options that override it: training.learning_rate=1e-4. With "
        "--resume: a run folder, instead or besides.",
    ),
]
OverrideArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="section.key=value", help="Options that override the recipe."),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model folder, a run folder, embedded:en-fr or a Hub id."
    ),
]
SourceOption = Annotated[str | None, typer.Option(help="Language of the source text, as a code.")]
TargetOption = Annotated[str | None, typer.Option(help="Language of the target text, as a code.")]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="What to learn, without a recipe file: translation, text-to-text or classification."
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option("--model", help="Checkpoint: a folder, a Hub id or embedded:en-fr."),
]
SourceColumnOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of the source text in a table, or a template."),
]
TargetColumnOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of the target texts in a table.")
]
TextOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Classification: column of the texts in a table."),
]
TextPairOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Of pairs of texts: column of the second ones.")
]
LabelOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Classification: column of the labels.")
]
DataOption = Annotated[
    list[str] | None, typer.Option(help="File, folder, glob, package:NAME, hub:ID; repeatable.")
]
TargetPathOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="With a .txt file: its translations.")
]
ConfigOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Configuration of a Hub data set.")
]
RevisionOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Revision of a Hub data set.")
]
SkipBadEntriesOption = Annotated[
    bool, typer.Option("--skip-bad-entries", help="Count what cannot be read, and go on.")
]
