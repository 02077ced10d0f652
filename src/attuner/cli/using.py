"""Commands that use a model: they translate and classify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attuner.cli.options import (
    JsonOption,
    ModelArgument,
    SourceOption,
    TargetOption,
    TextPairOption,
)
from attuner.cli.output import print_json
from attuner.errors import UsageError


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
        print_json({"languages": languages})
    elif languages:
        typer.echo("\n".join(languages))
    else:
        typer.echo(f"{model} tells no languages apart: it need not be told any.", err=True)


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
