"""Read compiled gettext catalogs (MO)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from attuner.data.asked import Asked
from attuner.data.plurals import charset_encoding, plural_units, read_header, shortened
from attuner.data.textfiles import read_bytes
from attuner.data.units import Address, Unit
from attuner.errors import DataError

_MO_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}
_KDE_CONTEXT = re.compile(r"_: (.*?)\n", re.DOTALL)


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
    encoding = charset_encoding(file, found.group(1) if found else b"CHARSET", asked)
    plurals = read_header(file, header.decode(encoding, "replace"), asked)
    for number, (key, value) in enumerate(entries, start=1):
        if not key:
            continue
        try:
            msgid, msgstr = key.decode(encoding), value.decode(encoding)
        except UnicodeError as error:
            shown = key.split(b"\0")[0].decode(encoding, "replace")
            asked.faults.add(
                "invalid encoding",
                f'{file}: entry {number}, msgid "{shortened(shown)}": not {encoding} ({error}).',
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
        where = f'{file}: entry {number}, msgid "{shortened(rest.split(chr(0))[0])}"'
        address = Address(file, "", context=context, catalog=file)
        sources, forms = rest.split("\0")[:2], msgstr.split("\0")
        if len(sources) == 1:
            forms = [msgstr]
        yield from plural_units(where, address, sources, forms, "translated", plurals, asked)


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
    entries, num_bytes = [], 0
    for index in range(count):
        pair = []
        for table in (keys, values):
            length, start = struct.unpack_from(f"{order}2I", content, table + 8 * index)
            if start + length > len(content):
                raise _mo_error(file, f"entry {index + 1} lies outside the file")
            # Entries that share their bytes would take memory that grows with the file's square.
            num_bytes += length
            if num_bytes > len(content):
                raise _mo_error(file, f"entry {index + 1} overlaps with others")
            pair.append(content[start : start + length])
        entries.append((pair[0], pair[1]))
    return entries


def _mo_error(file: str, what: str) -> DataError:
    return DataError(
        f"{file}: not a whole MO file: {what}.",
        "An MO file is what msgfmt writes.",
        "Compile it again from its PO file with msgfmt.",
    )
