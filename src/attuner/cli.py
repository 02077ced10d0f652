"""The command line: each command says what it takes, and calls the room that does it.

Nothing heavy is imported here: `attuner --help` answers in a moment, and a command imports
what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from attuner.errors import ModelError, StoppedError, UsageError, UserError

if TYPE_CHECKING:
    from attuner.console import Display
    from attuner.recipe import Recipe
    from attuner.training.run import Run


# How messages about its data are to spell the options of `attuner evaluate`.
_EVALUATE_FLAGS = {
    name: f"--{name.replace('_', '-')} {{}}"
    for name in (
        "source", "target", "source_column", "target_column", "target_path", "config", "revision",
        "split", "encoding", "text", "text_pair", "label",
    )
} | {"bad_entries": "--skip-bad-entries"}  # fmt: skip
_DEMOS = {"translation": "demo", "classification": "demo-classification"}
_ORDER = ("demo", "recipes", "check", "train", "evaluate", "translate", "classify", "schema")


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
        except BrokenPipeError as error:
            # The reader has gone (`attuner ... | head`): say nothing, and leave nothing to flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot write a character must not stop a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="attuner")


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


@app.command()
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
    _train(_with_free_name(recipe), as_json)


@recipes_app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List the ready recipes."""
    from attuner.ready_recipes import list_recipes

    recipes = list_recipes()
    if as_json:
        _print_json(recipes)
        return
    width = max(map(len, recipes))
    for name, summary in recipes.items():
        typer.echo(f"{name:{width}}  {summary}")


@recipes_app.command("copy")
def copy_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")],
    destination: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; NAME.yaml if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a ready recipe into a file of your own."""
    from attuner.ready_recipes import copy_recipe

    written = copy_recipe(name, destination)
    if as_json:
        _print_json({"recipe": str(written)})
    else:
        typer.echo(f"Wrote {written}. Train with it: attuner train {written}")


@app.command()
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
    with _display(as_json) as display:
        checked = check_recipe(
            recipe, row=row, find=find, model_output=model_output, listener=display
        )
    if as_json:
        _print_json(to_json(checked))
    else:
        from attuner.console import build_console
        from attuner.labels_view import render_any

        render_any(checked, build_console())
    if checked.is_refused:
        raise typer.Exit(ModelError.exit_code)


@app.command()
def train(
    arguments: TrainArguments = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run: the folder given, that of the recipe given, or the latest one.",
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
        _train(_load(arguments, flags), as_json)


@app.command()
def evaluate(
    model: ModelArgument,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="File, folder, glob, package:NAME or hub:ID.")
    ],
    source: SourceOption = None,
    target: TargetOption = None,
    source_column: SourceColumnOption = None,
    target_column: TargetColumnOption = None,
    text: TextOption = None,
    text_pair: TextPairOption = None,
    label: LabelOption = None,
    target_path: Annotated[
        str | None, typer.Option(metavar="FILE", help="With a .txt file: its translations.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME", help="Configuration of a Hub data set.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Revision of a Hub data set.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of a Hub data set.")] = "train",
    encoding: Annotated[
        str, typer.Option(help="Encoding of text files that do not declare their own.")
    ] = "utf-8",
    skip_bad_entries: Annotated[
        bool, typer.Option("--skip-bad-entries", help="Count what cannot be read, and go on.")
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="bleu, chrf, rougeL, ...; accuracy, macro_f1, ...; repeatable."),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, ctranslate2 or transformers.")] = "auto",
    quantization: Annotated[
        str, typer.Option(help="Number format of CTranslate2's weights: float32 or int8.")
    ] = "float32",
    num_beams: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the beam search; the model's own if not given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on data that has references, or labels."""
    from attuner.api import is_classifier
    from attuner.evaluation.on_data import evaluate_data
    from attuner.training.events import Progressed

    of_data: dict[str, Any] = {
        "config": config, "revision": revision, "split": split, "encoding": encoding,
        "bad_entries": "skip" if skip_bad_entries else "fail", "metrics": metric or None,
    }  # fmt: skip
    of_text = {
        "--source": source, "--target": target, "--source-column": source_column,
        "--target-column": target_column, "--target-path": target_path, "--num-beams": num_beams,
        "--engine": None if engine == "auto" else engine,
        "--quantization": None if quantization == "float32" else quantization,
    }  # fmt: skip
    of_labels = {"--text": text, "--text-pair": text_pair, "--label": label}
    gives_labels = is_classifier(model)
    _refuse_given(model, of_text if gives_labels else of_labels, gives_labels)
    if gives_labels:
        columns = {"text": text, "text_pair": text_pair, "label": label}
        _evaluate_labels(model, data, {**of_data, **columns}, as_json)
        return
    with _display(as_json) as display:
        found = evaluate_data(
            model,
            data,
            source=source,
            target=target,
            source_column=source_column,
            target_column=target_column,
            target_path=target_path,
            **of_data,
            engine=engine,
            quantization=quantization,
            num_beams=num_beams,
            progress=lambda done, total: display(Progressed("Scoring", done, total)),
            options=_EVALUATE_FLAGS,
        )
    if as_json:
        shown = ("scores", "signatures", "counts", "engine", "num_beams", "max_new_tokens")
        _print_json({name: getattr(found, name) for name in (*shown, "seconds")})
        return
    from attuner.console_text import evaluation_lines

    for line in evaluation_lines(found):
        typer.echo(line)


def _refuse_given(model: str, options: dict[str, Any], gives_labels: bool) -> None:
    """Refuse options that a model has no use of."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"{model} gives {'labels' if gives_labels else 'no labels'}: it has no use of "
            f"{', '.join(given)}.",
            "Options of the data go with what the model does.",
            f"Leave {'it' if len(given) == 1 else 'them'} out.",
        )


def _evaluate_labels(model: str, data: str, options: dict[str, Any], as_json: bool) -> None:
    from attuner.evaluation.labels_on_data import evaluate_labels
    from attuner.training.events import Progressed

    with _display(as_json) as display:
        found = evaluate_labels(
            model,
            data,
            **options,
            progress=lambda done, total: display(Progressed("Classifying", done, total)),
            options=_EVALUATE_FLAGS,
        )
    if as_json:
        shown = ("scores", "intervals", "signatures", "counts", "engine", "seconds")
        confusion = None if found.confusion is None else found.confusion.tolist()
        table = [asdict(row) for row in found.labels]
        _print_json(
            {**{n: getattr(found, n) for n in shown}, "labels": table, "confusion": confusion}
        )
        return
    from attuner.console_text import label_evaluation_lines

    for line in label_evaluation_lines(found):
        typer.echo(line)


@app.command()
def translate(
    model: ModelArgument,
    text: Annotated[
        str | None,
        typer.Argument(metavar="FILE | TEXT | -", help="A text, a .txt file, or - for input."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write into this file.")
    ] = None,
    source: SourceOption = None,
    target: TargetOption = None,
    list_languages: Annotated[
        bool,
        typer.Option("--list-languages", help="List the languages that the model tells apart."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Translate a text, a text file or standard input; or what else the model was tuned for."""
    from attuner.inference.translator import load
    from attuner.text_streams import as_one_text, output_file, text_batches, write_json

    if list_languages:
        _list_languages(model, as_json)
        return
    batches = text_batches(text, output)
    translator = load(model, source=source, target=target)
    if translator.whole_texts:
        batches = as_one_text(batches)
    with output_file(output) as file:
        for batch in batches:
            for before, after in zip(batch, translator.translate(batch), strict=True):
                if as_json:
                    write_json({"source": before, "target": after}, file)
                else:
                    file.write(f"{after}\n")
            file.flush()


def _list_languages(model: str, as_json: bool) -> None:
    from attuner.models.codec import load_codec
    from attuner.models.loading import resolve_model

    languages = sorted(load_codec(resolve_model(model)).languages)
    if as_json:
        _print_json({"languages": languages})
    elif languages:
        typer.echo("\n".join(languages))
    else:
        typer.echo(f"{model} tells no languages apart: it need not be told any.", err=True)


@app.command()
def classify(
    model: ModelArgument,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE | TEXT | -", help="A text, a .txt file, a table, or - for input."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write into this file.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--text", metavar="COLUMN", help="Of a table: column of the texts."),
    ] = None,
    text_pair: TextPairOption = None,
    logits: Annotated[bool, typer.Option("--logits", help="The model's outputs as well.")] = False,
    encoding: Annotated[
        str, typer.Option(help="Encoding of a table that does not declare its own.")
    ] = "utf-8",
    skip_bad_entries: Annotated[
        bool, typer.Option("--skip-bad-entries", help="Count rows that cannot be read, and go on.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Give labels, with their probabilities, to a text, a text file, a table or standard input.

    Of a pair of texts, the two stand on one line with a tab between them. A table comes out as CSV
    with new columns.
    """
    from attuner.classified_output import is_table, write_lines, write_table
    from attuner.inference.classifier import load_labels
    from attuner.models.classifier_usage import read_label_usage
    from attuner.models.loading import resolve_model
    from attuner.text_streams import output_file, text_batches

    if is_table(text):
        assert text is not None
        _refuse_same(Path(text), output)
        with output_file(output) as file:
            counts = write_table(
                Path(text), load_labels(model), model, file,
                text=column, text_pair=text_pair, logits=logits, as_json=as_json,
                encoding=encoding, bad_entries="skip" if skip_bad_entries else "fail",
            )  # fmt: skip
        if counts:
            listed = ", ".join(f"{reason} {n:,}" for reason, n in counts.most_common())
            typer.echo(f"Without a label: {listed}", err=True)
        return
    if column is not None or text_pair is not None:
        raise UsageError(
            "--text and --text-pair name columns, and there is no table.",
            "Lines hold a text each, or two with a tab between them.",
            "Leave them out, or give a table such as FILE.csv.",
        )
    batches = text_batches(text, output, command="classify")
    classifier = load_labels(model)
    is_pair = bool(read_label_usage(resolve_model(model)).text_pair)
    with output_file(output) as file:
        write_lines(batches, classifier, file, is_pair=is_pair, logits=logits, as_json=as_json)


def _refuse_same(path: Path, output: Path | None) -> None:
    if output is not None and output.exists() and output.samefile(path):
        raise UsageError(
            f"--output {output} is the file that is read.", "The result goes into another file."
        )


@app.command()
def schema(as_json: JsonOption = False) -> None:
    """Print the recipe's JSON schema, for editors: over many lines, or with --json on one."""
    import json

    from attuner.recipe import Recipe

    made = Recipe.model_json_schema()
    if as_json:
        _print_json(made)
    else:
        typer.echo(json.dumps(made, indent=2))


def _load(arguments: Sequence[str] | None, flags: dict[str, Any]) -> Recipe:
    """The recipe that a command line means: a file first, if any, then overrides."""
    from attuner.recipe_loading import load_recipe

    rest = list(arguments or ())
    is_file = bool(rest) and ("=" not in rest[0] or os.path.isfile(rest[0]))
    path = Path(rest.pop(0)) if is_file else None
    return load_recipe(path, rest, flags)


def _with_free_name(recipe: Recipe) -> Recipe:
    """The recipe with a run folder that does not exist yet: demo, demo-2, demo-3, ..."""
    folder, name, number = Path(recipe.output.folder), recipe.output.name, 1
    while (folder / name).exists():
        number += 1
        name = f"{recipe.output.name}-{number}"
    return recipe.model_copy(update={"output": recipe.output.model_copy(update={"name": name})})


def _train(recipe: Recipe, as_json: bool) -> None:
    from attuner.training.run import train as train_run

    with _display(as_json) as display:
        run = train_run(recipe, listeners=[display])
    _report(run, as_json)


def _resume(arguments: Sequence[str], flags: dict[str, Any], inexact: bool, as_json: bool) -> None:
    """Go on with the run that the arguments name: a folder, or that of a recipe.

    A run that a recipe names is begun where there is none yet: so a job that is started again and
    again types the same each time.
    """
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
    with _display(as_json) as display:
        if not folders and (files or any(flags.values())):
            from attuner.training.run import begin_or_resume

            wanted = load_recipe(next(iter(files), None), overrides, flags)
            run = begin_or_resume(wanted, inexact=inexact, listeners=[display])
        else:
            from attuner.training.resuming import latest_run
            from attuner.training.run import resume

            folder = folders[0] if folders else latest_run(Path("runs"))
            recipe = None
            if files or overrides or any(flags.values()):
                recipe = load_recipe((files or [folder / "recipe.yaml"])[0], overrides, flags)
            run = resume(folder, recipe, inexact=inexact, listeners=[display])
    _report(run, as_json)


def _is_recipe_name(text: str) -> bool:
    """Whether a word of the command line names a recipe, not a run folder."""
    return os.path.isfile(text) or text.endswith((".yaml", ".yml", ".json"))


def _display(as_json: bool) -> Display:
    from attuner.console import Display, build_console

    return Display(build_console(as_json))


def _report(run: Run, as_json: bool) -> None:
    """The result of a run for scripts; a person has seen it already."""
    from attuner.training.launch import is_main

    if as_json and is_main():
        _print_json(
            {
                "run": str(run.folder),
                "model": str(run.model_folder),
                "before": dict(run.before),
                "after": dict(run.after),
                "seconds": run.seconds,
                "counts": run.counts,
                **({"seeds": run.spreads} if run.spreads else {}),
            }
        )


def _print_json(value: Any) -> None:
    from attuner.text_streams import write_json

    write_json(value, sys.stdout)
