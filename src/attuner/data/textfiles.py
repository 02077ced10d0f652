"""Open text files, packed or not, and decode them line by line with exact line numbers."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from attuner.errors import DataError

_MAX_LINE_BYTES = 64 * 2**20
_MAX_WHOLE_BYTES = 2**30
_CHUNK_BYTES = 2**16
# Deflate packs at most 1032:1; text of people hardly ever better than 20:1.
_MAX_RATIO = 200
_SMALL_BYTES = 16 * 2**20
# Encodings in which the byte 0x0a is not always the end of a line.
_WIDE = ("utf-16", "utf-32", "utf-7", "utf_16", "utf_32", "utf_7")


class Line(NamedTuple):
    """A decoded line without its line break.

    Attributes:
        number: Counted from 1.
        text: The text; U+FFFD for what cannot be decoded.
        fault: What is wrong with the encoding, or "".
    """

    number: int
    text: str
    fault: str


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip where the name ends in `.gz`.

    Raises:
        DataError: The file cannot be opened, its gzip packing is damaged, or it unpacks to far
            more than text does.
    """
    try:
        with path.open("rb") as packed:
            if path.name.lower().endswith(".gz"):
                # The buffer reads lines in C; GzipFile's own readline is twice as slow.
                with io.BufferedReader(cast(Any, _Unpacked(path, packed)), _CHUNK_BYTES) as text:
                    yield text
            else:
                yield packed
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or cut short ({error}).",
            "A file that ends in .gz is a whole gzip file.",
            "Fetch it again, or check it with: gzip --test",
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}.", "The file must be readable."
        ) from error


class _Unpacked(gzip.GzipFile):
    """A gzip file that is refused as soon as it has unpacked to far more than text does."""

    def __init__(self, path: Path, packed: BinaryIO) -> None:
        super().__init__(fileobj=packed)
        self._path, self._num_read = path, 0
        self._num_packed = os.fstat(packed.fileno()).st_size

    def readinto(self, buffer: Any) -> int:
        num = super().readinto(buffer)
        self._num_read += num
        refuse_bomb(str(self._path), self._num_packed, self._num_read)
        return num


def refuse_bomb(name: str, packed: int, unpacked: int) -> None:
    """Refuse a packed text of a few bytes that fills memory and disk.

    Args:
        name: The file, as an error shows it.
        packed: Its size in bytes.
        unpacked: What it unpacks to, or has until now, in bytes.

    Raises:
        DataError: It is more than 200 times as much, and more than 16 MiB.
    """
    if unpacked > max(_SMALL_BYTES, _MAX_RATIO * packed):
        raise DataError(
            f"{name}: {packed} bytes that unpack to {unpacked} or more.",
            f"Text packs at most {_MAX_RATIO}:1.",
            "If the file is right, unpack it, and give what was in it.",
        )


def read_bytes(path: Path) -> bytes:
    """The whole (unpacked) content of a file of a format that cannot be read line by line.

    Raises:
        DataError: The file cannot be read, or is larger than 1 GiB.
    """
    with open_bytes(path) as opened:
        content = opened.read(_MAX_WHOLE_BYTES + 1)
    if len(content) > _MAX_WHOLE_BYTES:
        raise DataError(
            f"{path}: more than {_MAX_WHOLE_BYTES // 2**20} MiB, unpacked.",
            "Files of this format are read into memory.",
            "Split the file, or convert it to JSONL, which is read line by line.",
        )
    return content


def text_encoding(name: str) -> str:
    """Python's name of an encoding.

    Raises:
        DataError: There is no such text encoding.
    """
    try:
        info = codecs.lookup(name)
        # base64, rot13 and others are codecs, but not of text; idna and punycode are of names.
        if "x".encode(name) and info.name not in ("idna", "punycode", "undefined"):
            return info.name
    except (LookupError, ValueError, TypeError):
        pass
    raise DataError(
        f'encoding "{name}" is unknown.',
        "Known are Python's text encodings: utf-8, utf-16, cp1252, iso-8859-15, shift_jis ...",
        "Set encoding to one of them.",
    )


def decoded_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[Line]:
    r"""Decode a stream line by line, in constant memory; lines end at \n or \r\n.

    Args:
        stream: Bytes.
        name: The file, as an error shows it.
        encoding: Its encoding; a byte order mark is dropped.

    Raises:
        DataError: A line is longer than 64 MiB, or a UTF-16 or UTF-32 text is broken (behind a
            broken byte of these, nothing can be trusted).
    """
    encoding = text_encoding(encoding)
    lines = _wide_lines if encoding.startswith(_WIDE) else _byte_lines
    decoded = lines(stream, name, encoding)
    for number, text, fault in decoded:
        yield Line(number, text.removeprefix("\ufeff"), fault)
        break
    yield from decoded


def _byte_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[Line]:
    number = 0
    while raw := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > _MAX_LINE_BYTES:
            raise _too_long(name, number)
        try:
            yield Line(number, _without_end(raw.decode(encoding)), "")
        except UnicodeError as error:
            text = raw.decode(encoding, "replace")
            yield Line(number, _without_end(text), _describe(error, encoding))


def _wide_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[Line]:
    decoder = codecs.getincrementaldecoder(encoding)()
    number, rest = 0, ""
    while True:
        # Chunks that grow with the line: a long one is not joined and searched too often.
        chunk = stream.read(max(_CHUNK_BYTES, len(rest)))
        try:
            rest += decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            good = before.decode(encoding, "ignore")
            line = number + rest.count("\n") + good.count("\n") + 1
            raise DataError(
                f"{name}:{line}: {_describe(error, encoding)}.",
                f"The file is read as {encoding}.",
                "Set the encoding of this source to the one that it has, such as utf-8.",
            ) from error
        *whole, rest = rest.split("\n")
        for text in whole:
            number += 1
            yield Line(number, _without_end(text), "")
        if len(rest) > _MAX_LINE_BYTES:
            raise _too_long(name, number + 1)
        if not chunk:
            break
    if rest:
        yield Line(number + 1, _without_end(rest), "")


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _describe(error: UnicodeError, encoding: str) -> str:
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"byte 0x{byte:02x} at byte {error.start + 1} of the line is not {encoding}"
    return f"not {encoding} ({error})"


def _too_long(name: str, number: int) -> DataError:
    return DataError(
        f"{name}:{number}: the line is longer than {_MAX_LINE_BYTES // 2**20} MiB.",
        "A line holds one text or one row.",
    )
