"""The command that scores a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from attuner.cli.options import (
    ConfigOption,
    JsonOption,
    LabelOption,
    ModelArgument,
    RevisionOption,
    SkipBadEntriesOption,
    SourceColumnOption,
    SourceOption,
    TargetColumnOption,
    TargetOption,
    TargetPathOption,
    TextOption,
    TextPairOption,
)
from attuner.cli.output import open_display, print_json
from attuner.errors import UsageError

# How messages about its data are to spell the options of `attuner evaluate`.
EVALUATE_FLAGS = {
    name: f"--{name.replace('_', '-')} {{}}"
    for name in (
        "source", "target", "source_column", "target_column", "target_path", "config", "revision",
        "split", "encoding", "text", "text_pair", "label",
    )
} | {"bad_entries": "--skip-bad-entries"}  # fmt: skip


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
    target_path: TargetPathOption = None,
    config: ConfigOption = None,
    revision: RevisionOption = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of a Hub data set.")] = "train",
    encoding: Annotated[
        str, typer.Option(help="Encoding of text files that do not declare their own.")
    ] = "utf-8",
    skip_bad_entries: SkipBadEntriesOption = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="bleu, chrf, rougeL, ...; accuracy, macro_f1, ...; repeatable."),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="A metric of your own, whose file is run; or package.module:NAME; repeatable.",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, ctranslate2 or transformers.")] = "auto",
    quantization: Annotated[
        str | None,
        typer.Option(help="Number format of CTranslate2's weights: float32 (default) or int8."),
    ] = None,
    num_beams: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the beam search; the model's own if not given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on data that has references, or labels."""
    from attuner.api import is_classifier
    from attuner.evaluation.on_data import evaluate_data
    from attuner.evaluation.own_functions import find_own
    from attuner.training.events import Progressed

    of_data: dict[str, Any] = {
        "config": config, "revision": revision, "split": split, "encoding": encoding,
        "bad_entries": "skip" if skip_bad_entries else "fail", "metrics": metric or None,
        "functions": find_own(function or ()),
    }  # fmt: skip
    of_text = {
        "--source": source, "--target": target, "--source-column": source_column,
        "--target-column": target_column, "--target-path": target_path, "--num-beams": num_beams,
        "--engine": None if engine == "auto" else engine,
        "--quantization": quantization,
    }  # fmt: skip
    of_labels = {"--text": text, "--text-pair": text_pair, "--label": label}
    gives_labels = is_classifier(model)
    _refuse_given(model, of_text if gives_labels else of_labels, gives_labels)
    if gives_labels:
        columns = {"text": text, "text_pair": text_pair, "label": label}
        _evaluate_labels(model, data, {**of_data, **columns}, as_json)
        return
    with open_display(as_json) as display:
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
            options=EVALUATE_FLAGS,
        )
    if as_json:
        of_own = ("intervals",) if function else ()
        shown = ("scores", *of_own, "signatures", "counts", "engine", "num_beams", "max_new_tokens")
        print_json({name: getattr(found, name) for name in (*shown, "seconds")})
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

    with open_display(as_json) as display:
        found = evaluate_labels(
            model,
            data,
            **options,
            progress=lambda done, total: display(Progressed("Classifying", done, total)),
            options=EVALUATE_FLAGS,
        )
    if as_json:
        shown = ("scores", "intervals", "signatures", "counts", "engine", "seconds")
        confusion = None if found.confusion is None else found.confusion.tolist()
        table = [asdict(row) for row in found.labels]
        print_json(
            {**{n: getattr(found, n) for n in shown}, "labels": table, "confusion": confusion}
        )
        return
    from attuner.console_text import label_evaluation_lines

    for line in label_evaluation_lines(found):
        typer.echo(line)
