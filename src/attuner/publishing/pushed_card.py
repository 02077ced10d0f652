"""The card as it is pushed: what it calls the model by is the repository's id."""

from __future__ import annotations

from pathlib import Path

from attuner.cards.facts import FILE as FACTS
from attuner.cards.metadata import FILE as CARD
from attuner.cards.truth import write_at
from attuner.errors import ModelError


def card_under(hub_id: str, model: Path, place: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a card that take the place of the model folder's own in a push.

    Args:
        hub_id: The repository.
        model: The model folder, which stays as it is.
        place: A new folder, where they are written.

    Returns:
        By their names, none where the card stays as it is; and what the user should know.
    """
    if not (model / FACTS).is_file() or not (model / CARD).is_file():
        return {}, []
    place.mkdir(exist_ok=True)
    try:
        is_written = write_at(hub_id, model, place)
    except ModelError as error:  # facts that are broken
        return {}, [f"{CARD} is pushed as it is: {error.happened}"]
    if not is_written:
        return {}, [f"{CARD} is pushed as it is: it has been written into since it was rendered."]
    return {name: place / name for name in (CARD, FACTS)}, []
