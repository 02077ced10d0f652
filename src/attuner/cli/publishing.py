"""Commands that hand a model on."""

from __future__ import annotations

import os
from pathlib import Path
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
from attuner.cli.scoring import EVALUATE_FLAGS
from attuner.errors import UsageError

# How messages are to spell the options of `attuner export`.
_EXPORT_FLAGS = {
    **EVALUATE_FLAGS,
    **{name: f"--{name} {{}}" for name in ("output", "data", "quantization", "dtype")},
    "check": "--no-check",
    "force": "--force",
}


def export(
    model: ModelArgument,
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="ctranslate2, onnx (classifiers) or transformers."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder to write: exports/ in the run, or a new one here, if not given.",
        ),
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option(help="For ctranslate2: float32 (default), int8 or int8_float32."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="For transformers: float32 (default), float16 or bfloat16."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(help="Of an adapter, for transformers: merged (default) or separate."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Compare on these: file, folder, glob, package:NAME or hub:ID; the run's "
            "validation examples if not given."
        ),
    ] = None,
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
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of a Hub data set; train by default.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of text files that do not declare their own.")
    ] = None,
    skip_bad_entries: SkipBadEntriesOption = False,
    metric: Annotated[
        str | None, typer.Option(help="The score that decides; BLEU or accuracy by default.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="Points by which the score may fall.")] = 0.5,
    limit: Annotated[int, typer.Option(min=1, help="The most examples to compare on.")] = 500,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare the export with the model.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Keep the export though it is worse.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a model for another runtime, and keep the export where it is no worse."""
    from attuner.publishing.export import export as export_model
    from attuner.publishing.exported import to_json
    from attuner.publishing.view import export_lines
    from attuner.training.events import Progressed

    reading: dict[str, Any] = {
        "source": source, "target": target, "source_column": source_column,
        "target_column": target_column, "target_path": target_path, "text": text,
        "text_pair": text_pair, "label": label, "config": config, "revision": revision,
        "split": split, "encoding": encoding,
        "bad_entries": "skip" if skip_bad_entries else None,
    }  # fmt: skip
    with open_display(as_json) as display:
        made = export_model(
            model,
            to=to,
            output=output,
            quantization=quantization,
            dtype=dtype,
            adapter=adapter,
            data=data,
            metric=metric,
            margin=margin,
            limit=limit,
            check=not no_check,
            force=force,
            progress=lambda what, done, total: display(Progressed(what, done, total)),
            options=_EXPORT_FLAGS,
            **reading,
        )
    if as_json:
        print_json(to_json(made))
        return
    for line in export_lines(made):
        typer.echo(line)


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
    from attuner.cards.truth import missing_base, require_true_card, rewrite_card
    from attuner.models.loading import resolve_model

    if check and overwrite:
        raise UsageError("--check and --overwrite were both given.", "--check writes nothing.")
    if not check and not os.path.isdir(model):
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
    path, missing = folder / "README.md", missing_base(folder)
    if as_json:
        said = {"card": str(path), "is_true": True, "scores": facts.scored.after}
        print_json({**said, "not_compared": missing})
        return
    typer.echo(
        f"{path} is true: its scores are of the files beside it." if check else f"Wrote {path}."
    )
    if missing:
        typer.echo(
            f"Not compared: {missing}\nIf it has moved, name its place in base_model_name_or_path "
            f"of {folder / 'adapter_config.json'}."
        )


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
