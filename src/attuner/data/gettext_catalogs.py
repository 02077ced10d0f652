"""Read gettext catalogs: PO (through translate-toolkit) and MO.

Plural entries (gettext manual, "Plural forms") become one unit a form: the form for n = 1 is
the translation of msgid, every other form one of msgid_plural. A language with a single form
uses it for all numbers, so there it is a translation of msgid_plural.
"""

from __future__ import annotations

import gettext
import io
import re
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attuner.data.asked import Asked
from attuner.data.languages import check_language
from attuner.data.textfiles import Line, decoded_lines, read_bytes, text_encoding
from attuner.data.units import Address, State, Unit
from attuner.errors import DataError, MissingExtraError

_CHARSET = re.compile(rb'(^"Content-Type:[^"\n]*?charset=\s*)([^"\\\s;]+)', re.MULTILINE)
_STRING = r'"(?:\\.|[^"\\])*"'
_PO_LINE = re.compile(
    rf"\s*(?:#.*|(?:msgctxt|msgid|msgid_plural|msgstr(?:\[\s*\d{{1,3}}\s*\])?)\s*{_STRING}"
    rf"|{_STRING})?\s*",
    re.DOTALL,
)
_PO_MSGID = re.compile(r"\s*(?:#~\s*)?msgid[\s\"]")
_MO_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}
_KDE_CONTEXT = re.compile(r"_: (.*?)\n", re.DOTALL)


class _Plurals(NamedTuple):
    """What a header's Plural-Forms says; without one, two forms and no check of their number."""

    num_forms: int | None = None
    singular: int = 0


def read_po(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read a PO file; its header names encoding, language and plural forms.

    Raises:
        DataError: The file has a syntax error, an unknown encoding or another language.
        MissingExtraError: translate-toolkit is not installed.
    """
    try:
        from translate.storage.pypo import pofile
    except ImportError as error:
        raise MissingExtraError("Reading PO files", "l10n") from error

    file = str(path)
    lines = _decoded_po(path, file, asked)
    _check_po_syntax(file, lines, asked)
    store = pofile()
    try:
        store.parse(_as_utf8(lines))
    except Exception as error:  # whatever a foreign parser trips over, the file is at fault
        raise _po_syntax_error(file, _line_of(error, lines), str(error)) from error
    is_damaged = any(line.fault for line in lines)
    msgid_lines = [line.number for line in lines if _PO_MSGID.match(line.text)]
    header = next((unit for unit in store.units if unit.isheader()), None)
    plurals = _header(file, str(header.target) if header else "", asked)
    for entry in store.units:
        if entry.isheader() or not (entry.msgid or entry.msgidcomments):
            continue
        at = bisect_left(msgid_lines, entry._line_number or 1)
        line = msgid_lines[at] if at < len(msgid_lines) else entry._line_number
        if not entry.msgstr:
            raise _po_syntax_error(file, line, "msgid without msgstr")
        if is_damaged and any("\ufffd" in text for text in _texts(entry)):
            continue  # already noted, by its line
        yield from _po_units(entry, Address(file, "", line, catalog=file), plurals, asked)


def read_mo(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read a compiled catalog (gettext manual, "The Format of GNU MO Files").

    Not through translate-toolkit: that decodes an entry without saying which, and follows
    offsets that lead outside the file. An MO file holds translated entries only.

    Raises:
        DataError: The file is no MO file, is damaged, or is in another language.
    """
    file = str(path)
    entries = _mo_entries(file, read_bytes(path))
    header = next((value for key, value in entries if not key), b"")
    found = re.search(rb"charset=\s*([^\s;]+)", header)
    encoding = _encoding(file, found.group(1) if found else b"CHARSET", asked)
    plurals = _header(file, header.decode(encoding, "replace"), asked)
    for number, (key, value) in enumerate(entries, start=1):
        if not key:
            continue
        try:
            msgid, msgstr = key.decode(encoding), value.decode(encoding)
        except UnicodeError as error:
            shown = key.split(b"\0")[0].decode(encoding, "replace")
            asked.faults.add(
                "invalid encoding",
                f'{file}: entry {number}, msgid "{_short(shown)}": not {encoding} ({error}).',
                f"The header of the file says that it is {encoding}.",
                "Compile it again from its PO file",
            )
            continue
        context, separator, rest = msgid.partition("\4")
        if not separator:
            context, rest = "", msgid
        kde = _KDE_CONTEXT.match(rest)
        if kde and not context:
            context, rest = kde.group(1), rest[kde.end() :]
        where = f'{file}: entry {number}, msgid "{_short(rest.split(chr(0))[0])}"'
        address = Address(file, "", context=context, catalog=file)
        sources, forms = rest.split("\0")[:2], msgstr.split("\0")
        if len(sources) == 1:
            forms = [msgstr]
        yield from _units(where, address, sources, forms, "translated", plurals, asked)


def _po_units(entry: Any, address: Address, plurals: _Plurals, asked: Asked) -> Iterator[Unit]:
    state: State = "translated"
    if entry.isobsolete():
        state = "obsolete"
    elif entry.isfuzzy():
        state = "fuzzy"
    sources, forms = _strings(entry.source), _strings(entry.target)
    if isinstance(entry.msgstr, dict):  # by index, which may have gaps
        by_index = dict(zip(entry.msgstr, forms, strict=True))
        forms = [by_index.get(index, "") for index in range(max(by_index) + 1)]
    address = Address(
        address.file, "", address.line, context=entry.getcontext(), catalog=address.catalog
    )
    yield from _units(str(address), address, sources, forms, state, plurals, asked)


def _texts(entry: Any) -> list[str]:
    return [entry.getcontext(), *_strings(entry.source), *_strings(entry.target)]


def _strings(text: Any) -> list[str]:
    """All forms of translate-toolkit's multistring, a `str` that hides the others, as plain str."""
    return ["".join(list(form)) for form in getattr(text, "strings", [text])]


def _units(
    where: str,
    address: Address,
    sources: Sequence[str],
    forms: Sequence[str],
    state: State,
    plurals: _Plurals,
    asked: Asked,
) -> Iterator[Unit]:
    """One unit, or one for each plural form."""
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


def _header(file: str, text: str, asked: Asked) -> _Plurals:
    """Check the header's language; give its plural forms."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    check_language(file, fields.get("language"), "Language", asked.target_language, "target")
    rule = fields.get("plural-forms", "")
    found = re.search(r"nplurals\s*=\s*(\d+)\s*;\s*plural\s*=\s*([^;\n]+)", rule)
    if not found or not int(
        found.group(1)
    ):  # none, or the template's "nplurals=INTEGER; plural=EXPRESSION;"
        return _Plurals()
    try:
        # The standard library's own parser of these expressions: no eval of foreign text.
        singular = gettext.c2py(found.group(2).strip())(1)
    except (ValueError, RecursionError, ZeroDivisionError, OverflowError) as error:
        raise _plural_error(file, rule, str(error)) from error
    num_forms = int(found.group(1))
    if singular >= num_forms:
        raise _plural_error(file, rule, f"for n = 1 it gives form {singular} of {num_forms}")
    return _Plurals(num_forms, singular)


def _plural_error(file: str, rule: str, what: str) -> DataError:
    return DataError(
        f'{file}: the header has "Plural-Forms: {_short(rule)}": {what}.',
        "It is a number and a C expression with a value below it.",
        "Write for example: nplurals=2; plural=(n > 1);",
    )


def _decoded_po(path: Path, file: str, asked: Asked) -> list[Line]:
    """Decode by the header's charset. translate-toolkit would take broken UTF-8 for Latin-1."""
    content = read_bytes(path)
    found = _CHARSET.search(content)
    encoding = _encoding(file, found.group(2) if found else b"CHARSET", asked)
    if b"\r" in content:  # also the line ends of old Macs
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return list(decoded_lines(io.BytesIO(content), file, encoding))


def _encoding(file: str, charset: bytes, asked: Asked) -> str:
    name = charset.decode("ascii", "replace")
    try:
        return text_encoding(asked.encoding if name == "CHARSET" else name)
    except DataError as error:
        raise DataError(f"{file}: {error.happened}", error.expected) from error


def _check_po_syntax(file: str, lines: list[Line], asked: Asked) -> None:
    """Look at every line; encoding faults of a PO file are collected, its first other is fatal."""
    for line in lines:
        if line.fault:
            asked.faults.add(
                "invalid encoding",
                f"{file}:{line.number}: {line.fault}.",
                "The charset in the header (else data.train[0].encoding) is that of the file.",
                "Mend the charset or the line",
            )
        elif not _PO_LINE.fullmatch(line.text):
            raise _po_syntax_error(file, line.number, f"cannot be read: {_short(line.text)}")


def _as_utf8(lines: list[Line]) -> bytes:
    content = "".join(line.text + "\n" for line in lines).encode()
    return _CHARSET.sub(rb"\g<1>UTF-8", content, count=1)


def _line_of(error: Exception, lines: list[Line]) -> int | None:
    """Line of a parser's error; within obsolete entries it counts from their start, so search."""
    state = getattr(error, "parse_state", None)
    if state is None:
        return None
    text = state.next_line.strip()
    number = state.lineno
    if 0 < number <= len(lines) and lines[number - 1].text.strip() == text:
        return int(number)
    return next((line.number for line in lines if text and line.text.endswith(text)), len(lines))


def _po_syntax_error(file: str, line: int | None, what: str) -> DataError:
    where = f"{file}:{line}" if line else file
    return DataError(
        f"{where}: PO syntax error: {what.rstrip('.')}.",
        "An entry is msgid and msgstr, each followed by text in double quotes.",
        "Check the file with: msgfmt --check",
    )


def _mo_entries(file: str, content: bytes) -> list[tuple[bytes, bytes]]:
    if len(content) < 28:
        raise _mo_error(file, f"{len(content)} bytes are too few for its head")
    order = _MO_MAGIC.get(content[:4])
    if order is None:
        raise _mo_error(file, f"it begins with {content[:4].hex()}, not de120495 or 950412de")
    version, count, keys, values = struct.unpack(f"{order}4I", content[4:20])
    if version >> 16 > 1:
        raise _mo_error(file, f"its format has the unknown version {version >> 16}")
    if max(keys, values) + 8 * count > len(content):
        raise _mo_error(file, f"{count} entries do not fit into {len(content)} bytes")
    entries = []
    for index in range(count):
        pair = []
        for table in (keys, values):
            length, start = struct.unpack_from(f"{order}2I", content, table + 8 * index)
            if start + length > len(content):
                raise _mo_error(file, f"entry {index + 1} lies outside the file")
            pair.append(content[start : start + length])
        entries.append((pair[0], pair[1]))
    return entries


def _mo_error(file: str, what: str) -> DataError:
    return DataError(
        f"{file}: not a whole MO file: {what}.",
        "An MO file is what msgfmt writes.",
        "Compile it again from its PO file with msgfmt.",
    )


def _short(text: str, width: int = 60) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) <= width else text[:width] + "..."
