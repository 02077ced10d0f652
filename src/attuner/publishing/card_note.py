"""Tell of an export in the card of the model that it was made from."""

from __future__ import annotations

import math
from pathlib import Path

from attuner.cards.facts import FILE, Export, read_facts
from attuner.cards.truth import rewrite_card
from attuner.errors import ModelError, first_line
from attuner.publishing.exported import Exported
from attuner.publishing.measuring import Measured
from attuner.publishing.origin import Origin

_ORIGINAL = "original"


def note_in_card(made: Exported, origin: Origin) -> str:
    """Add the export to the facts of the model folder, and render its card anew.

    An export of the same name takes the place of an earlier one; the model's own line is the
    latest that was measured.

    Returns:
        What was done, in words; "" where there is nothing to tell of it in: a checkpoint without
        facts, or the copy of a Hub model in the cache, which stays as it was fetched.
    """
    folder = origin.folder
    if not Path(origin.name).is_dir() or not (folder / FILE).is_file():
        return ""
    try:
        facts = read_facts(folder)
        known = {entry.name: entry for entry in facts.exports}
        if made.original is not None:
            known[_ORIGINAL] = _entry(_ORIGINAL, made.model_bytes, made, made.original)
        name = f"{made.format} {made.number_format}"
        known[name] = _entry(name, made.num_bytes, made, made.exported)
        first = [known.pop(_ORIGINAL)] if _ORIGINAL in known else []
        rewrite_card(facts.model_copy(update={"exports": [*first, *known.values()]}), folder)
    except (ModelError, OSError) as error:  # such as another user's folder
        return f"The model's card does not tell of it: {first_line(error)}"
    return f"The model's card tells of it: {folder / 'README.md'}"


def _entry(name: str, num_bytes: int, made: Exported, measured: Measured | None) -> Export:
    from attuner.training.manifest import processor_name

    if measured is None:
        return Export(name=name, num_bytes=num_bytes)
    return Export(
        name=name,
        num_bytes=num_bytes,
        per_second=round(measured.per_second, 1),
        split=made.part,
        num_examples=made.num_examples,
        scores={
            metric: value if math.isfinite(value) else None
            for metric, value in measured.scores.items()
        },
        engine=measured.engine,
        machine=processor_name(),
    )
