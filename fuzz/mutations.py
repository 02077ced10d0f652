"""Spoil the bytes of a file: flipped, cut, doubled, mixed, swollen, in another encoding."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

# What trips parsers, by the formats that it comes from.
_BYTES = [
    b"\0",
    b"\xff",
    b"\xe9",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1b[2J",
]
_BYTES += [b'"', b"'", b"\\", b"\n", b"\r", b"\r\n", b"\x0b", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8"]
_NUMBERS = [b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"-0", b"0x1F", b"0o17", b"1_0", b".inf"]
_NUMBERS += [b"2147483648", b"18446744073709551616", b"1e-400", b"9" * 5000, b"0." + b"0" * 5000]
_PO = [
    b"msgid ",
    b'msgid ""\n',
    b'msgstr "',
    b"msgstr[2] ",
    b"msgstr[999999] ",
    b"#~ ",
    b"#| ",
    b"#,",
]
_PO += [
    b"charset=utf-16",
    b"charset=hex",
    b"nplurals=0",
    b"plural=n/0",
    b"plural=",
    b"\\ud800",
    b"\\",
]
_PO += [
    b"msgctxt ",
    b"msgid_plural ",
    b"_: k\\n",
    b'domain "x"\n',
    b"Language: de\\n",
    b"\\x",
    b"\\777",
]
_XML = [b"<", b">", b"</", b"/>", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?x ?>", b"&x;", b"&#0;"]
_XML += [b"&#xD800;", b"&#x1F600;", b'<!DOCTYPE x [<!ENTITY x "y">]>', b'<!ENTITY x SYSTEM "/">']
_XML += [
    b"<g>",
    b"</g>",
    b"<mrk>",
    b"<ph/>",
    b"<bpt>",
    b"<x/>",
    b"<sub>",
    b'xmlns="u"',
    b'xml:lang="fr"',
    b'xml:space="preserve"',
    b'restype="x-gettext-plurals"',
    b'state="',
    b"<source>",
]
_XML += [b"<target/>", b"<seg/>", b"<tuv>", b"<tu>", b"<message>", b"<translation/>", b"<segment/>"]
_XML += [
    b'type="obsolete"',
    b'numerus="yes"',
    b'encoding="utf-16"',
    b'encoding="x"',
    b'version="1.1"',
]
_TABLES = [b",", b";", b"\t", b'""', b"en", b"fr", b"[", b"]", b"{", b"}", b":", b"null", b"true"]
_TABLES += [
    b'{"en":',
    b'"\\ud800"',
    b'"\\u0000"',
    b'{"en": 1, "fr": []}\n',
    b"[[]]",
    b'"translation":',
]
_YAML = [b"- ", b": ", b"? ", b"&a ", b"*a ", b"!!python/object ", b"!x ", b"|\n", b">\n", b"---\n"]
_YAML += [b"...\n", b"%YAML 9.9\n", b"<<: ", b"\t", b"#", b"{", b"}", b"@", b"`", b"[]", b"~", b"'"]
_YAML += [b"training:\n", b"  ", b"data:", b"config: {model_type: marian}", b"{a: {b: ", b"name: "]
PIECES = _BYTES + _NUMBERS + _PO + _XML + _TABLES + _YAML
_INTS = [0, 1, 27, 28, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_LONGEST = 2 * 2**20
_ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "utf-7", "gb18030"]


def mutate(content: bytes, random: Random) -> bytes:
    """The content, spoilt one to four times, of 2 MiB at most."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        content = random.choice(_WAYS)(content, random)
    return content[:_LONGEST]


def _span(content: bytes, random: Random, longest: int = 40) -> tuple[int, int]:
    start = random.randint(0, len(content))
    return start, random.randint(start, min(len(content), start + longest))


def _flip(content: bytes, random: Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(random.randint(1, 4) if spoilt else 0):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _overwrite(content: bytes, random: Random) -> bytes:
    start, _ = _span(content, random)
    number = struct.pack(random.choice("<>") + "I", random.choice([*_INTS, len(content)]))
    return content[:start] + number + content[start + 4 :]


def _truncate(content: bytes, random: Random) -> bytes:
    start, _ = _span(content, random)
    return content[:start] if random.random() < 0.8 else content[start:]


def _remove(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + content[stop:]


def _double(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random, len(content))
    return content[:stop] + content[start:stop] * random.choice((1, 1, 2, 30)) + content[stop:]


def _swap(content: bytes, random: Random) -> bytes:
    a, b = _span(content, random)
    c, d = _span(content[b:], random)
    return (
        content[:a] + content[b + c : b + d] + content[b : b + c] + content[a:b] + content[b + d :]
    )


def _insert(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + random.choice(PIECES) + content[random.choice((start, stop)) :]


def _swell(content: bytes, random: Random) -> bytes:
    """Very long lines, deep nesting, many entries: a piece over and over."""
    start, stop = _span(content, random)
    piece = random.choice([*PIECES, b" ", b" ", b"a", b"[", b"{", b"<g>", content[start:stop]])
    times = random.choice((50, 300, 2000, 20_000, 100_000))
    swollen = (piece * times)[: 10 * times]
    return content[:start] + swollen + content[stop:]


def _renumber(content: bytes, random: Random) -> bytes:
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return content
    number = random.choice(found)
    return content[: number.start()] + random.choice(_NUMBERS) + content[number.end() :]


def _recode(content: bytes, random: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(random.choice(_ENCODINGS), "replace")


def _line_ends(content: bytes, random: Random) -> bytes:
    return content.replace(b"\n", random.choice((b"\r", b"\r\n", b"\n\n", b"\n \n", b"", b"\x0c")))


def _noise(content: bytes, random: Random) -> bytes:
    return random.randbytes(random.randint(0, 200))


_WAYS: Sequence[Callable[[bytes, Random], bytes]] = (
    *(_flip, _overwrite, _truncate, _remove, _double, _swap, _insert, _insert, _insert),
    *(_swell, _renumber, _recode, _line_ends),
)
