"""Export a model for another runtime, and let it pass only where it is no worse than the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ExportError, UsageError, nearest
from attuner.models.exports import FILE, TITLES
from attuner.publishing import to_ctranslate2, to_onnx, to_transformers
from attuner.publishing.card_note import note_in_card
from attuner.publishing.comparing import Progress, compared, worse
from attuner.publishing.exported import Exported, facts_of
from attuner.publishing.held_out import HeldOut, of_data, of_run, run_of
from attuner.publishing.measuring import folder_bytes
from attuner.publishing.origin import Origin, find_origin
from attuner.training.disk import refused
from attuner.training.folder import new_folder

if TYPE_CHECKING:
    from types import ModuleType

# Each module says what it takes (NUMBER_FORMATS, `require`) and writes (`write`).
FORMATS: Mapping[str, ModuleType] = {
    "ctranslate2": to_ctranslate2,
    "onnx": to_onnx,
    "transformers": to_transformers,
}
DEFAULT_MARGIN, DEFAULT_LIMIT = 0.5, 500
# How messages spell the arguments below; the command line gives its own spelling.
_OF_ANY = ("config", "revision", "split", "encoding", "bad_entries")
_OF_TEXTS = ("source", "target", "source_column", "target_column", "target_path")
_OF_LABELS = ("text", "text_pair", "label")
_OWN = ("output", "data", "quantization", "dtype")
KEYWORDS = {
    **{name: f'{name}="{{}}"' for name in (*_OWN, *_OF_ANY, *_OF_TEXTS, *_OF_LABELS)},
    "check": "check=False",
    "force": "force=True",
}


def export(
    model: str | Path,
    *,
    to: str,
    output: str | Path | None = None,
    quantization: str | None = None,
    dtype: str | None = None,
    adapter: str | None = None,
    data: str | Path | None = None,
    metric: str | None = None,
    margin: float = DEFAULT_MARGIN,
    limit: int = DEFAULT_LIMIT,
    check: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    options: Mapping[str, str] = KEYWORDS,
    **reading: Any,
) -> Exported:
    """Export a model, and compare the export with it: it is kept where it is no worse.

    Both are scored on the validation examples of the model's run, or on `data`; the model as
    transformers computes it in float32.

    Args:
        model: A model folder or that of an adapter, a run folder, `embedded:en-fr` or a Hub id.
        to: `ctranslate2`, `onnx` or `transformers`.
        output: Folder to write; `exports/FORMAT` in the run, else a new one here.
        quantization: For CTranslate2: `float32` (the default), `int8` or `int8_float32`.
        dtype: For transformers: `float32` (the default), `float16` or `bfloat16`.
        adapter: Of an adapter for transformers: `merged` into its base (the default) or `separate`.
        data: Examples to compare on: a file, folder, glob, `package:NAME` or `hub:ID`.
        metric: The score that decides: by default BLEU of translations, the first of the recipe's
            of other texts (chrF without a run), accuracy, micro F1 or Pearson's r of labels.
        margin: By how many points the score may fall.
        limit: The most examples to compare on, spread over all.
        check: False exports without comparing.
        force: Keep the export though it is worse.
        progress: Called with what is done, the number done and their total.
        options: How the arguments that messages advise are typed; `{}` stands for the value.
        **reading: How to read `data`, as `evaluate_data` and `evaluate_labels` are told.

    Raises:
        UsageError: An option is none of this format, or there is nothing to compare on.
        ModelError: The model cannot be exported to this format.
        ExportError: The export is worse than the model, or cannot be written.
        DataError: What is to be compared on cannot be read.
        MissingExtraError: A library is not installed.
    """
    if limit < 1:
        raise UsageError(
            f"limit is {limit}.",
            "Expected a whole number from 1: the most examples to compare on.",
        )
    given = {name: value for name, value in reading.items() if value is not None}
    numbers = _number_format(to, quantization, dtype, options)
    origin = find_origin(str(model))
    _require_of_task(origin, given, options)
    separate = _is_separate(origin, to, adapter)
    FORMATS[to].require(origin, numbers)
    place = Path(output) if output is not None else _place(origin, to, numbers)
    _require_free(place, origin, options)
    held_out = None
    if check:
        held_out = _held_out(origin, data, given, options, limit)
    elif data is not None or given:
        raise UsageError(
            f"Data were given together with {options['check']}.",
            "They are to compare the export with its model.",
            "Leave one of them out.",
        )
    with _written(place, options) as partial:
        write = FORMATS[to].write if not separate else to_transformers.write_adapter
        write(origin, partial, numbers)
        facts: dict[str, Any] = {"format": to, "number_format": numbers, "model": str(model)}
        _write_json(partial / FILE, facts)
        made = Exported(
            place, to, numbers, str(model), origin.labels is not None,
            folder_bytes(partial), folder_bytes(*origin.folders),
        )  # fmt: skip
        if held_out is not None:
            made = compared(origin, made, partial, held_out, metric, margin, progress)
            if made.is_worse and not force:
                raise worse(made, options)
        _write_json(partial / FILE, {**facts, **facts_of(made, origin)})
    return replace(made, card=note_in_card(made, origin))


def _number_format(
    to: str, quantization: str | None, dtype: str | None, options: Mapping[str, str]
) -> str:
    """The number format that the options ask for.

    Raises:
        UsageError: There is no such format, or none with this option.
    """
    if to not in FORMATS:
        raise UsageError(f'There is no format "{to}" to export to.', nearest(to, FORMATS))
    of_format = {"ctranslate2": ("quantization", quantization), "transformers": ("dtype", dtype)}
    name, chosen = of_format.get(to, ("", None))
    for other, value in of_format.values():
        if other != name and value is not None:
            raise UsageError(
                f"{options[other].format(value)} was given with an export to {to}.",
                "quantization is for ctranslate2, dtype for transformers.",
                "Leave it out.",
            )
    known = FORMATS[to].NUMBER_FORMATS
    if chosen is not None and chosen not in known:
        raise UsageError(f'There is no {name} "{chosen}".', nearest(chosen, known))
    return str(chosen or known[0])


def _require_of_task(
    origin: Origin, reading: Mapping[str, Any], options: Mapping[str, str]
) -> None:
    """Refuse options of data that are not for what the model does.

    Raises:
        UsageError: There are such.
    """
    known = {*_OF_ANY, *(_OF_TEXTS if origin.labels is None else _OF_LABELS)}
    for name in reading:
        if name not in known:
            raise UsageError(
                f"{origin.name} {'writes text' if origin.labels is None else 'gives labels'}: it "
                f"has no use of {_spelt(name, options)}.",
                "Options of the data go with what the model does.",
                "Leave it out.",
            )


def _spelt(name: str, options: Mapping[str, str]) -> str:
    """An option without its value."""
    return options.get(name, name).partition(" ")[0].partition("=")[0]


def _is_separate(origin: Origin, to: str, adapter: str | None) -> bool:
    """Whether an adapter stays apart from its base."""
    if adapter not in (None, "merged", "separate"):
        raise UsageError(
            f'An adapter is not exported "{adapter}".', nearest(adapter, ("merged", "separate"))
        )
    if adapter is not None and not origin.is_adapter:
        raise UsageError(
            f"{origin.name} is no adapter: it cannot be {adapter}.",
            "Expected the folder of an adapter, as model.adapter.save=separate delivers it.",
            "Leave the option out.",
        )
    if adapter == "separate" and to != "transformers":
        raise UsageError(
            f"An adapter alone cannot be exported to {to}.",
            f"{TITLES[to]} runs whole models.",
            "Leave the option out: the adapter is merged into its base.",
        )
    return adapter == "separate"


def _place(origin: Origin, to: str, numbers: str) -> Path:
    """Where an export goes that was not told."""
    run = run_of(origin.folder)
    if run is not None:
        return run.path / "exports" / f"{to}-{numbers}"
    name = origin.name.rstrip("/").replace(":", "/").rpartition("/")[2]
    return Path(f"{name}-{to}-{numbers}")


def _require_free(place: Path, origin: Origin, options: Mapping[str, str]) -> None:
    """Refuse to replace what is no export.

    Raises:
        ExportError: Something else is there.
    """
    is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    is_export = (place / FILE).is_file() and place.resolve() not in [
        folder.resolve() for folder in origin.folders
    ]
    if not is_free and not is_export:
        raise ExportError(
            f"{place} exists, and is no earlier export.",
            "An export is written into a new folder, or replaces an export.",
            f"Choose another place: {options['output'].format('FOLDER')}",
        )


def _held_out(
    origin: Origin,
    data: str | Path | None,
    reading: Mapping[str, Any],
    options: Mapping[str, str],
    limit: int,
) -> HeldOut:
    """What to compare on.

    Raises:
        UsageError: There is nothing.
    """
    if data is not None:
        return of_data(str(origin.folder), str(data), origin.labels, reading, options, limit=limit)
    if reading:
        named = ", ".join(_spelt(name, options) for name in reading)
        raise UsageError(
            f"{named} was given without data.",
            "Options of the data go with data.",
            f"Name them: {options['data'].format('FILE')}",
        )
    run = run_of(origin.folder)
    if run is not None:
        return of_run(run, origin.labels, options, limit=limit)
    raise UsageError(
        f"{origin.name} lies in no run: there are no validation examples to compare the export "
        "with it on.",
        "An export is kept where it is no worse than its model, which takes examples.",
        f"Name some: {options['data'].format('FILE')}; or export without comparing: "
        f"{options['check']}",
    )


@contextmanager
def _written(place: Path, options: Mapping[str, str]) -> Iterator[Path]:
    """A temporary folder that takes its name when the block ends well; else nothing is left.

    Raises:
        ExportError: The disk is full, or the place cannot be written.
    """
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        with new_folder(place) as partial:
            yield partial
    except BaseException as error:
        for parent in made:  # the nearest first
            with suppress(OSError):
                parent.rmdir()
        words = refused(error, place.parent)
        if not words:
            raise
        raise ExportError(
            f"{place}: {words}.",
            "An export is written whole or not at all: nothing of it is left.",
            f"Mend that, or choose another place: {options['output'].format('FOLDER')}",
        ) from error


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
