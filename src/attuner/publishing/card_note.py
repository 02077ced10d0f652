"""Note an export in the facts that the model's card is rendered from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attuner.models.json_files import read_json_object
from attuner.publishing.exported import Exported
from attuner.publishing.measuring import Measured
from attuner.publishing.origin import Origin
from attuner.training.folder import write_text

CARD = "card.json"
_ORIGINAL = "original"


def note_in_card(made: Exported, origin: Origin) -> None:
    """Add the export to `card.json` of the model folder, where there is one that can be written.

    An export of the same name takes the place of an earlier one; the model's own line is the
    latest that was measured.
    """
    path = origin.folder / CARD
    if not path.is_file():
        return
    facts = read_json_object(path)
    known = {entry["name"]: entry for entry in facts.get("exports", [])}
    if made.original is not None and made.exported is not None:
        known[_ORIGINAL] = _entry(_ORIGINAL, made.model_bytes, made, made.original)
    name = f"{made.format} {made.number_format}"
    known[name] = _entry(name, made.num_bytes, made, made.exported)
    first = {_ORIGINAL: known.pop(_ORIGINAL)} if _ORIGINAL in known else {}
    facts["exports"] = [*first.values(), *known.values()]
    with suppress(OSError):  # such as a package's or another user's folder
        write_text(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _entry(
    name: str, num_bytes: int, made: Exported, measured: Measured | None
) -> Mapping[str, Any]:
    from attuner.training.manifest import processor_name

    if measured is None:
        return {"name": name, "num_bytes": num_bytes}
    return {
        "name": name,
        "num_bytes": num_bytes,
        "per_second": round(measured.per_second, 1),
        "split": made.part,
        "num_examples": made.num_examples,
        "scores": {
            metric: value if math.isfinite(value) else None
            for metric, value in measured.scores.items()
        },
        "engine": measured.engine,
        "machine": processor_name(),
    }
