"""Generated tables, parallel text, and what they are packed in."""

from __future__ import annotations

import gzip
import io
import json
import math
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

from fuzz.texts import any_text, to_bytes


def delimited(random: Random, separator: str) -> bytes:
    """A header and a few rows, some with a value too many or too few."""

    def value() -> str:
        text = any_text(random)
        if separator == "\t" or random.random() < 0.1:
            return text
        return '"' + text.replace('"', '""') + '"'

    names = random.choice(
        (["en", "fr"], ["en", "fr", "x"], ["source", "target"], ["en", "en"], ["en"])
    )
    rows = [names]
    for _ in range(random.randint(0, 6)):
        rows.append([value() for _ in range(len(names) + random.choice((0, 0, 0, 0, 1, -1)))])
    return to_bytes(random.choice(("\n", "\r\n")).join(separator.join(row) for row in rows))


def _value(random: Random) -> Any:
    kinds: list[Callable[[], Any]] = [lambda: any_text(random)] * 8
    kinds += [lambda: None, lambda: [any_text(random)], list, lambda: 10**4000, lambda: math.nan]
    kinds += [
        lambda: True,
        lambda: {"en": any_text(random), "fr": any_text(random)},
        lambda: [None, ["a"]],
    ]
    return random.choice(kinds)()


def _rows(random: Random) -> list[Any]:
    def row() -> Any:
        if random.random() < 0.05:
            return _value(random)
        names = random.choice(
            (["en", "fr"], ["en", "fr"], ["en", "fr", "catalog"], ["fr", "en"], ["en"])
        )
        return {name: _value(random) for name in names}

    wrapped = random.random() < 0.2
    return [{"translation": row()} if wrapped else row() for _ in range(random.randint(0, 6))]


def _dump(value: Any, random: Random) -> str:
    return json.dumps(value, ensure_ascii=random.random() < 0.5)


def json_array(random: Random) -> bytes:
    """An array of rows."""
    return to_bytes(_dump(_rows(random), random))


def jsonl(random: Random) -> bytes:
    """Rows, one a line."""
    return to_bytes("\n".join(_dump(row, random) for row in _rows(random)))


def gz(random: Random) -> bytes:
    """Rows, packed, once or twice."""
    packed = gzip.compress(jsonl(random), mtime=0)
    return packed if random.random() < 0.8 else packed * 2


def txt(random: Random) -> bytes:
    """A few lines."""
    return _lines(random, random.randint(0, 6))


def _lines(random: Random, num: int) -> bytes:
    return to_bytes("\n".join(any_text(random) for _ in range(num)))


def moses_zip(random: Random) -> bytes:
    """Two members in all packings, with names that lead astray."""
    packed, num = io.BytesIO(), random.randint(0, 6)
    base = random.choice(
        (*["K.en-fr"] * 15, "K", "", "../K", "/etc/K", "C:\\K", "a/b", "\ud7ff", "K\n")
    )
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(packed, "w") as archive, warnings.catch_warnings(action="ignore"):
        for code in random.choice(
            (["en", "fr"], ["en", "fr"], ["en", "fr", "ids"], ["en", "en", "fr"], ["en"])
        ):
            member = zipfile.ZipInfo(f"{base}.{code}")
            if random.random() < 0.05:
                member.external_attr = 0o120777 << 16  # a symbolic link
            archive.writestr(member, _lines(random, num), random.choice(methods))
    return packed.getvalue()


def parquet(random: Random) -> bytes:
    """Columns of texts, and of types that are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num = random.randint(0, 6)

    def soundly(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    def column() -> Any:
        texts = [soundly(any_text(random)) for _ in range(num)]
        numbers = [random.choice((0, 1, -(2**62), 2**62, None)) for _ in range(num)]
        kind = random.choice(
            ("text", "text", "text", "text", "list", "bytes", "number", "odd", "nested")
        )
        if kind == "text":
            types = (
                pa.string(),
                pa.large_string(),
                pa.dictionary(pa.int32(), pa.string()),
                pa.string_view(),
            )
            array = pa.array(texts, pa.string())
            kind_of_text = random.choice(types)
            return array if kind_of_text == pa.string_view() else array.cast(kind_of_text)
        if kind == "list":
            return pa.array([[text, None] for text in texts], pa.list_(pa.string()))
        if kind == "bytes":
            return pa.array([text.encode() + b"\xff" for text in texts], pa.binary())
        if kind == "nested":
            return pa.array(
                [{"en": text, "fr": [text]} for text in texts],
                pa.struct([("en", pa.string()), ("fr", pa.list_(pa.string()))]),
            )
        if kind == "number":
            return pa.array(numbers, pa.int64())
        odd_types = (
            pa.timestamp("ns"),
            pa.timestamp("us", "x/y"),
            pa.timestamp("s"),
            pa.duration("ns"),
            pa.time64("us"),
            pa.date64(),
            pa.timestamp("ms", "UTC"),
        )
        small = [None if n is None else n // 10**6 for n in numbers]
        try:
            return pa.array(random.choice((numbers, small)), pa.int64()).cast(
                random.choice(odd_types)
            )
        except pa.ArrowException:
            return pa.nulls(num)

    names = random.choice(
        (["en", "fr"], ["en", "fr"], ["translation"], ["en", "en", "fr"], ["en", "fr", "catalog"])
    )
    table = pa.table([column() for _ in names], names=names)
    packed = io.BytesIO()
    compression = random.choice(("snappy", "none", "gzip", "zstd"))
    try:
        pq.write_table(
            table, packed, compression=compression, row_group_size=random.choice((1, 2, 100))
        )
    except (pa.ArrowException, ValueError):
        pq.write_table(pa.table({"en": ["a"]}), packed)
    return packed.getvalue()
