"""How examples and units of text → text are stored, and the quick way to their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from attuner.data.stored import Packing, Record, Stored
from attuner.data.units import ADDRESS, Address, Example, Unit

# Places in the records of both.
_SOURCE, _TARGETS, _SOURCE_LANGUAGE, _TARGET_LANGUAGE, _FILE, _CATALOG = 0, 1, 2, 3, 4, 9
_LANGUAGES = ("source_language", "target_language")


def _example(record: Record, weight: float) -> Example:
    source, references, source_language, target_language, *address = record
    return Example(source, references, source_language, target_language, Address(*address), weight)


def _unit(record: Record, weight: float) -> Unit:
    source, targets, source_language, target_language, *address, state = record
    return Unit(Address(*address), source, targets, state, source_language, target_language, weight)


EXAMPLES: Packing[Example] = Packing(
    attrgetter("source", "references", *_LANGUAGES, *ADDRESS), _example, attrgetter("weight")
)
UNITS: Packing[Unit] = Packing(
    attrgetter("source", "targets", *_LANGUAGES, *ADDRESS, "state"), _unit, attrgetter("weight")
)


def texts_of(examples: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """Source and first reference of each."""
    if isinstance(examples, Stored):
        return ((record[_SOURCE], record[_TARGETS][0]) for record in examples.records())
    return ((example.source, example.references[0]) for example in examples)


def languages_of(examples: Stored[Example]) -> Iterator[tuple[str, str]]:
    """Languages of source and references of each, as it names them."""
    return ((record[_SOURCE_LANGUAGE], record[_TARGET_LANGUAGE]) for record in examples.records())


def places_of(examples: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """File and catalog of each."""
    if isinstance(examples, Stored):
        return ((record[_FILE], record[_CATALOG]) for record in examples.records())
    return ((example.address.file, example.address.catalog) for example in examples)
