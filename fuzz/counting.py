"""Count the entries of a file by other means than its reader, to see that none vanishes."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from attuner.data.units import Unit

_MSGID = re.compile(rb'^[ \t]*(?:#~[ \t]*)?msgid[ \t]*"[^"]', re.MULTILINE)


def count_entries(name: str, content: bytes) -> int:
    """At least so many entries are in a file that a reader accepted; 0 where it is hard to say."""
    count = _COUNTS.get(name.split(".", 1)[1])
    return count(content) if count is not None else 0


def usable_entries(units: Sequence[Unit]) -> int:
    """How many entries the units come from: plural forms of one entry are one."""
    forms_of_one = (".po", ".mo", ".ts")
    return sum(
        unit.address.plural in (None, 0) or not unit.address.file.endswith(forms_of_one)
        for unit in units
    )


def _po(content: bytes) -> int:
    return 0 if b"charset=utf-" in content else len(_MSGID.findall(content))


def _mo(content: bytes) -> int:
    order = "<" if content[:1] == b"\xde" else ">"
    count, table = struct.unpack_from(f"{order}2I", content, 8)
    lengths = struct.unpack_from(f"{order}{2 * count}I", content, table)[::2]
    return sum(length > 0 for length in lengths)


def _xml(*names: str) -> Callable[[bytes], int]:
    def count(content: bytes) -> int:
        try:
            root = ElementTree.fromstring(content)
        except ElementTree.ParseError:  # it knows fewer encodings than libxml2
            return 0
        namespace = root.tag.rpartition("}")[0]
        wanted = {f"{namespace}}}{name}" if namespace else name for name in names}
        return sum(
            element.tag in wanted and element.get("restype") != "x-gettext-domain-header"
            for element in root.iter()
        )

    return count


def _lines_with(content: bytes, mark: bytes) -> int:
    return sum(mark in line for line in content.split(b"\n"))


def _delimited(content: bytes) -> int:
    is_plain = not any(mark in content for mark in (b'"', b"\r", b"\0"))
    return max(0, _lines_with(content, b"a") - 1) if is_plain else 0


def _json(content: bytes) -> int:
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return _lines_with(content, b"{")
    return len(rows) if isinstance(rows, list) else 1


def _parquet(content: bytes) -> int:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as table:
        return sum(batch.num_rows for batch in table.iter_batches())


_COUNTS: dict[str, Callable[[bytes], int]] = {
    "po": _po,
    "mo": _mo,
    "tmx": _xml("tu"),
    "ts": _xml("message"),
    "csv": _delimited,
    "tsv": _delimited,
    "json": _json,
    "jsonl": lambda content: _lines_with(content, b"{"),
    "jsonl.gz": lambda content: _lines_with(gzip.decompress(content), b"{"),
    "txt": lambda content: content.rstrip(b"\n").count(b"\n"),
    "parquet": _parquet,
}
