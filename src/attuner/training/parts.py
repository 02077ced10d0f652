"""Token ids of training, validation and test, and what became of lines that are too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attuner.data.line_pairs import num_unpaired
from attuner.data.preparation import Prepared
from attuner.errors import DataError
from attuner.models.fingerprint import codec_fingerprint
from attuner.training.events import Event, Progressed
from attuner.training.scoring import Part

if TYPE_CHECKING:
    from attuner.data.features import Features, Ints, SequencePairs
    from attuner.data.labelled import LabelledExample
    from attuner.data.stored import Stored
    from attuner.data.units import Example
    from attuner.recipe import Recipe
    from attuner.tasks.translation import Encoded
    from attuner.training.setup import Origin

Emit = Callable[[Event], None]


def encode_parts(
    recipe: Recipe, prepared: Prepared, origin: Origin, emit: Emit
) -> tuple[SequencePairs, dict[str, Part], dict[str, dict[str, int]]]:
    """Token ids of training, validation and test, and what became of lines that are too long.

    What is evaluated is always cut, never skipped, so that loss and scores are of the same rows.

    Returns:
        The training features, the parts to evaluate, and numbers of lines: `cut` by part and
        side and, where training skips them, `too long`.

    Raises:
        DataError: No pair of lines is left of a part.
    """
    cut: dict[str, int] = {}
    counts = {"cut": cut}

    def features(part: str) -> SequencePairs:
        encoded = _encode(recipe, prepared, part, origin, emit)
        for side in ("source", "target"):
            if f"{side} cut" in encoded.counts:
                cut[f"{part} {side}"] = encoded.counts[f"{side} cut"]
        if "too long" in encoded.counts:
            counts["too long"] = {part: encoded.counts["too long"]}
        return encoded.features

    train = features("train")
    parts = {
        part: Part(getattr(prepared, part), features(part))
        for part in ("validation", "test")
        if getattr(prepared, part)
    }
    return train, parts, counts


def _encode(recipe: Recipe, prepared: Prepared, part: str, origin: Origin, emit: Emit) -> Encoded:
    from attuner.tasks.translation import Encoded, encoded_chunks, told_pairs
    from attuner.training.encoded_cache import cached, encoded_key, on_disk

    what = "training" if part == "train" else part
    examples: Stored[Example] = getattr(prepared, part)
    options: dict[str, Any] = {
        "weights": examples.weights,
        "max_source_tokens": recipe.data.max_source_tokens,
        "max_target_tokens": recipe.data.max_target_tokens,
        "too_long": recipe.data.too_long if part == "train" else "cut",
    }

    def progress(done: int, total: int) -> None:
        emit(Progressed(f"tokenising {what}", done, total))

    chunks = []
    for codec, pairs in told_pairs(examples, origin.codec, whole_texts=prepared.whole_texts):
        make = partial(encoded_chunks, pairs, codec, **options, progress=progress)
        if recipe.data.cache:
            key = encoded_key(
                pairs,
                tokenizer=codec_fingerprint(origin.tokenizer_folder, codec),
                **options,
            )
            chunks.append(cached(key, make))
        else:
            chunks.append(Encoded(*on_disk(make())))
    encoded = chunks[0] if len(chunks) == 1 else Encoded(*on_disk(chunks))
    if not len(encoded.features):
        raise _no_pairs(recipe, what, examples, encoded.counts.get("too long", 0))
    return encoded


def _no_pairs(
    recipe: Recipe, what: str, examples: Sequence[Example], num_too_long: int
) -> DataError:
    """The error where encoding left nothing of a part."""
    data = recipe.data
    unpaired = 0 if recipe.text_task.whole_texts else num_unpaired(examples)
    reasons = []
    if unpaired:
        reasons.append(f"sides with different numbers of lines {unpaired:,}")
    if num_too_long:
        reasons.append(f"pairs of lines that are too long {num_too_long:,}")
    if num_too_long:
        remedy = "Raise them, or set data.too_long=cut: lines are then cut and counted."
    else:
        remedy = f"Name files in data.{'train' if what == 'training' else what} that hold such."
    return DataError(
        f"No pair of lines is left for {what} of {len(examples):,} examples: {', '.join(reasons)}.",
        "Expected pairs of lines with at most "
        f"data.max_source_tokens={data.max_source_tokens} and "
        f"data.max_target_tokens={data.max_target_tokens} tokens."
        if num_too_long
        else "Expected examples whose two sides have as many lines.",
        remedy,
    )


def addresses(
    examples: Sequence[Example] | Sequence[LabelledExample], features: Features, rows: Ints
) -> list[str]:
    """Where the examples behind rows of features come from, each once: `a.po:42`."""
    return list(dict.fromkeys(str(examples[index].address) for index in features.example[rows]))


def notes(
    recipe: Recipe, counts: Mapping[str, Mapping[str, int]], has_validation: bool
) -> list[str]:
    """What the user should read before training.

    Args:
        recipe: The recipe.
        counts: Numbers of lines, as `encode_parts` returns them.
        has_validation: Whether there are validation examples.
    """
    data = recipe.data
    limits = (
        f"data.max_source_tokens={data.max_source_tokens}, "
        f"data.max_target_tokens={data.max_target_tokens}"
    )
    unit = "texts" if recipe.text_task.whole_texts else "lines"
    done = {
        "cut": f"{unit.capitalize()} cut", "too long": f"Pairs of {unit} left out as too long"
    }  # fmt: skip
    lines = [
        f"{done[what]} ({limits}): {', '.join(f'{name} {n:,}' for name, n in found.items())}."
        for what, found in counts.items()
        if found
    ]
    ignored = ignored_choices(recipe, has_validation)
    return [*lines, ignored] if ignored else lines


def ignored_choices(recipe: Recipe, has_validation: bool) -> str:
    """A line on options that have no effect because nothing is validated; "" where all have."""
    options = recipe.training
    if has_validation and options.evaluate != "none":
        return ""
    given = [
        f"training.{name}"
        for name in ("early_stopping", "best_metric")
        if name in options.model_fields_set and getattr(options, name) is not None
    ]
    if not given:
        return ""
    why = "training.evaluate=none" if has_validation else "There are no validation examples"
    have = "have" if len(given) > 1 else "has"
    return f"{why}: {' and '.join(given)} {have} no effect, the last weights are delivered."
