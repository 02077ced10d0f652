"""What `attuner check` finds out before any training: the data, single examples, the cost."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.inspection import Inspection, inspect
from attuner.data.segments import segment
from attuner.data.units import Example
from attuner.models.codec import TextCodec
from attuner.training.choosing import Numbered, choose, numbered
from attuner.training.cost import Cost, measure_cost
from attuner.training.events import Event, Listener
from attuner.training.jobs import TASKS
from attuner.training.jobs.text import TextJob
from attuner.training.launch import require_alone
from attuner.training.self_check import SelfChecked, check_origin

if TYPE_CHECKING:
    from attuner.recipe import Recipe
    from attuner.training.label_check import CheckedLabels
    from attuner.training.origin import Origin

_FIRST = 3


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line of an example as the model sees it.

    Attributes:
        text: The line.
        tokens: Its pieces, end token included, not cut.
        limit: Tokens that fit; the model sees no more.
    """

    text: str
    tokens: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One example, in full.

    Attributes:
        row: Its number, counted from 1 through training, validation and test.
        part: "train", "validation" or "test".
        address: `file:line` or the like.
        context: Disambiguating context, or "".
        source: Source text.
        references: Target texts.
        source_lines: The source's lines in tokens.
        target_lines: The first reference's lines in tokens.
        output: What the untuned model makes of the source, where asked for.
    """

    row: int
    part: str
    address: str
    context: str
    source: str
    references: tuple[str, ...]
    source_lines: tuple[ShownLine, ...]
    target_lines: tuple[ShownLine, ...]
    output: str | None = None


@dataclass(frozen=True)
class Checked:
    """The answer of `check`.

    Attributes:
        inspection: The data in numbers; None where single examples were asked for.
        cost: Steps, time and memory; None likewise.
        shown: The examples asked for, else the first few of training.
        num_found: How many examples hold the text that was looked for; None where none was.
        self_check: Whether the checkpoint is sound; None for random weights, where the recipe
            wants no such check, and where single examples were asked for.
        is_refused: Whether training would refuse the checkpoint; the cost is not measured then.
    """

    inspection: Inspection | None
    cost: Cost | None
    shown: tuple[Shown, ...]
    num_found: int | None = None
    self_check: SelfChecked | None = None
    is_refused: bool = False


def check(
    recipe: Recipe,
    *,
    row: int | None = None,
    find: str | None = None,
    model_output: bool = False,
    listener: Listener | None = None,
) -> Checked | CheckedLabels:
    """Read and prepare a recipe's data, look at them and at the checkpoint, measure a few updates.

    With `row` or `find` only those examples are looked at, which is quicker.

    Args:
        recipe: The recipe.
        row: Show this example, counted from 1 through training, validation and test.
        find: Show examples whose source or target holds this text, in any case.
        model_output: With the examples shown, what the untuned model says.
        listener: Is told of progress.

    Raises:
        UserError: The data or the model cannot be used, or there is no such example; or this is
            one of several processes.
    """
    require_alone()
    job = TASKS[recipe.task.name](recipe, listener or _ignore)
    checked: Checked | CheckedLabels = job.check(row=row, find=find, model_output=model_output)
    return checked


def check_text(job: TextJob, *, row: int | None, find: str | None, model_output: bool) -> Checked:
    """The same for text → text; arguments as in `check`."""
    job.find_model()
    job.read()
    with tempfile.TemporaryDirectory(prefix="attuner-") as name:
        job.learn_vocabulary(Path(name) / "vocabulary")  # its files are not kept
        return _checked(job, row, find, model_output)


def _checked(job: TextJob, row: int | None, find: str | None, model_output: bool) -> Checked:
    from attuner.training.origin import load_model

    recipe, origin = job.recipe, job.origin
    prepared = replace(job.prepared, notes=(*job.prepared.notes, *job.lowered))
    if row is not None or find is not None:
        chosen, num_found = choose(prepared, row, find, _holds)
        outputs = _outputs(recipe, origin, chosen) if model_output else []
        return Checked(None, None, _shown(recipe, origin.codec, chosen, outputs), num_found)
    languages = prepared.train[0].languages
    codec = origin.codec.between(*languages) if any(languages) else origin.codec
    plain = codec.between(None, None).with_prefix("")
    inspection = inspect(
        prepared,
        encode_source=plain.encode_source,
        encode_target=codec.encode_target,
        decode=codec.decode,
        unk_token_id=codec.unk_token_id,
        max_source_tokens=recipe.data.max_source_tokens,
        max_target_tokens=recipe.data.max_target_tokens,
        prefix=codec.source_prefix,
    )
    first = list(islice(numbered(prepared), _FIRST))
    outputs = _outputs(recipe, origin, first) if model_output else []
    model = load_model(recipe, origin)
    found_out = check_origin(recipe, origin, model, prepared)
    is_damaged = found_out is not None and bool(found_out.damage)
    return Checked(
        inspection,
        None if is_damaged else measure_cost(recipe, job, model, job.emit),
        _shown(recipe, codec, first, outputs),
        self_check=found_out,
        is_refused=is_damaged and recipe.model.self_check == "fail",
    )


def to_json(checked: Checked | CheckedLabels) -> dict[str, Any]:
    """The answer as plain values."""
    return asdict(checked)


def _holds(example: Example, wanted: str) -> bool:
    return any(wanted in text.casefold() for text in (example.source, *example.references))


def _shown(
    recipe: Recipe, codec: TextCodec, chosen: list[Numbered], outputs: list[str]
) -> tuple[Shown, ...]:
    data, whole = recipe.data, recipe.text_task.whole_texts

    def shown_lines(text: str, example: Example, side: str) -> tuple[ShownLine, ...]:
        languages = example.languages
        own = codec.between(*languages) if any(languages) else codec
        encode, spell, limit = (
            (own.encode_source, own.source_tokens, data.max_source_tokens)
            if side == "source"
            else (own.encode_target, own.target_tokens, data.max_target_tokens)
        )
        return tuple(
            ShownLine(line, tuple(spell(*encode([line]).to_lists())), limit)
            for line in segment(text, whole=whole).lines
        )

    return tuple(
        Shown(
            row=row,
            part=part,
            address=str(example.address),
            context=example.address.context,
            source=example.source,
            references=example.references,
            source_lines=shown_lines(example.source, example, "source"),
            target_lines=shown_lines(example.references[0], example, "target"),
            output=outputs[index] if outputs else None,
        )
        for index, (row, part, example) in enumerate(chosen)
    )


def _outputs(recipe: Recipe, origin: Origin, chosen: list[Numbered]) -> list[str]:
    """What the untuned model makes of the examples."""
    if not chosen:
        return []
    from attuner.evaluation.evaluate import generate
    from attuner.training.origin import load_model
    from attuner.training.scoring import build_translator
    from attuner.training.setup import generation_options

    options = generation_options(recipe)
    translator = build_translator(load_model(recipe, origin), origin.codec, options)
    return generate(
        translator,
        [example for _, _, example in chosen],
        num_beams=options.num_beams,
        max_new_tokens=options.max_new_tokens,
    )


def _ignore(_: Event) -> None:
    """The listener where nobody listens."""
