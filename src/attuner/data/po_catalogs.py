"""Read gettext catalogs as translators edit them (PO), through translate-toolkit."""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attuner.data.asked import Asked
from attuner.data.plurals import Plurals, charset_encoding, plural_units, read_header, shortened
from attuner.data.textfiles import Line, decoded_lines, read_bytes
from attuner.data.units import Address, State, Unit
from attuner.errors import DataError, MissingExtraError

_CHARSET = re.compile(rb'(^"Content-Type:[^"\n]*?charset=\s*)([^"\\\s;]+)', re.MULTILINE)
_STRING = r'"(?:\\.|[^"\\])*"'
# Of a line without white space at its edges: two \s* that can meet take quadratic time.
_PO_LINE = re.compile(
    rf"(?:#.*|(?:msgctxt|msgid|msgid_plural|msgstr(?:\[\s*\d{{1,3}}\s*\])?)\s*{_STRING}"
    rf"|{_STRING})?",
    re.DOTALL,
)
_PO_MSGID = re.compile(r"\s*(?:#~\s*)?msgid[\s\"]")
_PO_MSGSTR = re.compile(r"\s*(?:#~\s*)?msgstr")


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
    plurals = read_header(file, str(header.target) if header else "", asked)
    for entry in store.units:
        if entry.isheader() or not (entry.msgid or entry.msgidcomments):
            continue
        at = bisect_left(msgid_lines, entry._line_number or 1)
        line = msgid_lines[at] if at < len(msgid_lines) else entry._line_number
        if is_damaged and any("\ufffd" in text for text in _texts(entry)):
            continue  # already noted, by its line
        yield from _po_units(entry, Address(file, "", line, catalog=file), plurals, asked)


def _po_units(entry: Any, address: Address, plurals: Plurals, asked: Asked) -> Iterator[Unit]:
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
    yield from plural_units(str(address), address, sources, forms, state, plurals, asked)


def _texts(entry: Any) -> list[str]:
    return [entry.getcontext(), *_strings(entry.source), *_strings(entry.target)]


def _strings(text: Any) -> list[str]:
    """All forms of translate-toolkit's multistring, a `str` that hides the others, as plain str."""
    return ["".join(list(form)) for form in getattr(text, "strings", [text])]


def _decoded_po(path: Path, file: str, asked: Asked) -> list[Line]:
    """Decode by the header's charset. translate-toolkit would take broken UTF-8 for Latin-1."""
    content = read_bytes(path)
    found = _CHARSET.search(content)
    encoding = charset_encoding(file, found.group(2) if found else b"CHARSET", asked)
    if b"\r" in content:  # also the line ends of old Macs
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return list(decoded_lines(io.BytesIO(content), file, encoding))


def _check_po_syntax(file: str, lines: list[Line], asked: Asked) -> None:
    """Look at every line; encoding faults of a PO file are collected, its first other is fatal.

    translate-toolkit silently leaves out obsolete entries that it cannot read.
    """
    msgid: int | None = None
    for line in lines:
        is_msgid = _PO_MSGID.match(line.text) is not None
        if msgid is not None and (is_msgid or line.text.strip() in ("", "#~")):
            raise _po_syntax_error(file, msgid, "msgid without msgstr")
        if is_msgid:
            msgid = line.number
        elif _PO_MSGSTR.match(line.text):
            msgid = None
        if line.fault:
            asked.faults.add(
                "invalid encoding",
                f"{file}:{line.number}: {line.fault}.",
                "The charset in the header is that of the file; where there is none, "
                f"{asked.typed('encoding', 'CHARSET')} is.",
                "Mend the charset or the line",
            )
        elif not _PO_LINE.fullmatch(line.text.strip().removeprefix("#~").lstrip(" \t|")):
            raise _po_syntax_error(file, line.number, f"cannot be read: {shortened(line.text)}")
    if msgid is not None:
        raise _po_syntax_error(file, msgid, "msgid without msgstr")


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
