"""The words of the data room: a unit as a file holds it, an example as a task learns it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

State = Literal["translated", "untranslated", "fuzzy", "obsolete"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a text stands, precise enough for a writer to put a translation there.

    Attributes:
        file: Path of the file as the user gave it or as found under it; an archive member as
            `archive.zip!member`; a Hub data set as `hub:ID/config/split`.
        unit: Id of the entry within the file: the msgid, the trans-unit id, the tuid, or the
            number of the row or entry counted from 1.
        line: Line of the entry, from 1, where the format has lines.
        plural: Index of the plural form, where the entry has several.
        context: Disambiguating context (msgctxt, TS context name), or "".
        catalog: What `split.by: catalog` keeps together: the row's own `catalog` value where
            the data has one, else the file.
    """

    file: str
    unit: str
    line: int | None = None
    plural: int | None = None
    context: str = ""
    catalog: str = ""

    def __str__(self) -> str:
        """`file:line`, or `file: entry UNIT` where the format has no lines."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}: entry {self.unit}"


# The fields of an example's address, as seen from the example.
ADDRESS = tuple(f"address.{field.name}" for field in fields(Address))


@dataclass(frozen=True, slots=True)
class Unit:
    """One entry (one plural form of one entry) exactly as its file holds it.

    Attributes:
        address: Where it stands.
        source: Source text, as in the file.
        targets: Its translations (several where the file has several references); empty when
            untranslated.
        state: What the file says of the translation.
        source_language: Language of the source, as the file or the recipe names it.
        target_language: Language of the targets.
        weight: How often the recipe wants it seen in an epoch.
    """

    address: Address
    source: str
    targets: tuple[str, ...]
    state: State = "translated"
    source_language: str = ""
    target_language: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Example:
    """A source text with its references: what a translation task learns from or is scored on.

    Attributes:
        source: Source text, as in the file (edge white space and line breaks included).
        references: One or more target texts; the first is the one trained on.
        source_language: Language code of the source; "" where the task has no languages.
        target_language: Language code of the references.
        address: Where it came from.
        weight: How often it is seen in an epoch.
    """

    source: str
    references: tuple[str, ...]
    source_language: str
    target_language: str
    address: Address
    weight: float = 1.0

    @property
    def languages(self) -> tuple[str | None, str | None]:
        """What a model is told of the languages: nothing where the task has none."""
        if not self.source_language:
            return None, None
        return self.source_language, self.target_language
