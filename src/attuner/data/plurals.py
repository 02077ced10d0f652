"""What PO and MO have in common: the header, its plural forms, and the units of an entry.

Plural entries (gettext manual, "Plural forms") become one unit a form: the form for n = 1 is
the translation of msgid, every other form one of msgid_plural. A language with a single form
uses it for all numbers, so there it is a translation of msgid_plural.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attuner.data.asked import Asked
from attuner.data.languages import check_language
from attuner.data.textfiles import text_encoding
from attuner.data.units import Address, State, Unit
from attuner.errors import DataError

_MOST_DIGITS = 3


class Plurals(NamedTuple):
    """What a header's Plural-Forms says; without one, two forms and no check of their number."""

    num_forms: int | None = None
    singular: int = 0


def read_header(file: str, text: str, asked: Asked) -> Plurals:
    """Check the header's language; give its plural forms.

    Raises:
        DataError: The catalog is in another language, or its Plural-Forms cannot be used.
    """
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    check_language(file, fields.get("language"), "Language", "target", asked)
    rule = fields.get("plural-forms", "")
    found = re.search(r"nplurals\s*=\s*(\d+)\s*;\s*plural\s*=\s*([^;\n]+)", rule)
    # None, or the template's "nplurals=INTEGER; plural=EXPRESSION;".
    if not found or not found.group(1).strip("0"):
        return Plurals()
    if len(found.group(1)) > _MOST_DIGITS:
        raise _plural_error(file, rule, "no language has so many forms")
    num_forms = int(found.group(1))
    try:
        # The standard library's own parser of these expressions: no eval of foreign text.
        singular = gettext.c2py(found.group(2).strip())(1)
    except (ValueError, RecursionError, ZeroDivisionError, OverflowError) as error:
        raise _plural_error(file, rule, str(error)) from error
    if singular >= num_forms:
        raise _plural_error(file, rule, f"for n = 1 it gives form {singular} of {num_forms}")
    return Plurals(num_forms, singular)


def _plural_error(file: str, rule: str, what: str) -> DataError:
    return DataError(
        f'{file}: the header has "Plural-Forms: {shortened(rule)}": {what}.',
        "It is a number and a C expression with a value below it.",
        "Write for example: nplurals=2; plural=(n > 1);",
    )


def plural_units(
    where: str,
    address: Address,
    sources: Sequence[str],
    forms: Sequence[str],
    state: State,
    plurals: Plurals,
    asked: Asked,
) -> Iterator[Unit]:
    """The unit of an entry, or one for each plural form; none (and a bad entry) if forms lack.

    Args:
        where: The entry, as an error shows it.
        address: Its address; unit id and plural form are filled in here.
        sources: msgid, and msgid_plural where the entry has one.
        forms: msgstr, or all its forms in order.
        state: What the file says of the translation.
        plurals: What the header says.
        asked: Languages and weight.
    """
    has_plural = len(sources) > 1
    expected = plurals.num_forms or max(len(forms), 1)
    if has_plural and len(forms) != expected and not (state == "obsolete" or not any(forms)):
        asked.faults.add(
            "wrong number of plural forms",
            f"{where}: plural entry has {len(forms)} msgstr forms, the header declares {expected}.",
            "Every plural entry needs all forms.",
            "Complete it",
        )
        return
    for index, form in enumerate(forms):
        is_singular = index == plurals.singular and expected > 1
        unit = asked.unit(
            Address(
                address.file,
                sources[0],
                address.line,
                index if has_plural else None,
                address.context,
                address.catalog,
            ),
            sources[0] if is_singular or not has_plural else sources[1],
            (form,),
            state,
        )
        if unit is not None:
            yield unit


def charset_encoding(file: str, charset: bytes, asked: Asked) -> str:
    """Python's name of a header's charset; the asked encoding for the template's "CHARSET".

    Raises:
        DataError: There is no such encoding.
    """
    name = charset.decode("ascii", "replace")
    try:
        return text_encoding(asked.encoding if name == "CHARSET" else name)
    except DataError as error:
        raise DataError(f"{file}: {error.happened}", error.expected) from error


def shortened(text: str, width: int = 60) -> str:
    """A text as an error message shows it, on one line."""
    text = text.replace("\n", "\\n")
    return text if len(text) <= width else text[:width] + "..."
