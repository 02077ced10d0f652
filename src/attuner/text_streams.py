"""Lines in, lines out: how the command line reads text and writes results."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from attuner.errors import DataError, UsageError

CATALOG_SUFFIXES = (".po", ".pot", ".mo", ".xlf", ".xliff", ".tmx", ".ts")
_LARGEST_BATCH = 64


def batches_as_they_come(lines: Iterable[str]) -> Iterator[list[str]]:
    """Group lines: all that have arrived, at most 64, and never wait for a second one.

    A person who types gets an answer after each line; a pipe is translated in full batches.
    """
    arrived: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * _LARGEST_BATCH)

    def read() -> None:
        try:
            for line in lines:
                arrived.put(line)
            arrived.put(None)
        except BaseException as error:  # handed to the thread that consumes
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    item = arrived.get()
    while isinstance(item, str):
        batch = [item]
        while len(batch) < _LARGEST_BATCH:
            try:
                item = arrived.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, str):
                break
            batch.append(item)
        yield batch
        if isinstance(item, str):
            item = arrived.get()
    if item is not None:
        raise item


def decode_lines(file: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8 text without their line ends.

    Raises:
        DataError: A line is not UTF-8.
    """
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{number}: byte 0x{line[error.start]:02x} is not UTF-8.",
                "Text must be UTF-8.",
                f"Convert it first, such as: iconv -f latin1 -t utf-8 {name}",
            ) from error
        yield text.rstrip("\r\n")


def text_batches(argument: str | None, output: Path | None = None) -> Iterator[list[str]]:
    """What `attuner translate MODEL ARGUMENT` is to translate.

    Args:
        argument: `-` or None for standard input, the path of a text file, or a text.
        output: The file that will be written, which must not be the one that is read.

    Raises:
        UsageError: There is nothing to read, or the file is not plain text.
        DataError: The text is not UTF-8.
    """
    if argument in (None, "-"):
        if argument is None and sys.stdin.isatty():
            raise UsageError(
                "There is nothing to translate.",
                "Give a text, a text file, or - for standard input.",
                'For example: attuner translate MODEL "Open the file"',
            )
        return batches_as_they_come(decode_lines(sys.stdin.buffer, "standard input"))
    path = Path(str(argument))
    if not _means_file(path):
        return iter([[str(argument)]])
    _refuse_file(path, output)
    return _file_batches(path)


def _means_file(path: Path) -> bool:
    """Whether an argument is a file, or looks like one that is missing."""
    is_file = len(str(path)) < 1024 and path.is_file()
    looks_like_one = path.suffix in (".txt", *CATALOG_SUFFIXES) and " " not in str(path)
    return is_file or looks_like_one


def _refuse_file(path: Path, output: Path | None) -> None:
    if path.suffix.lower() in CATALOG_SUFFIXES:
        raise UsageError(
            f"{path} is a catalog, and catalogs cannot be written back yet.",
            "Files to translate are plain text, one text a line, named .txt.",
            'Pass a text instead: attuner translate MODEL "Open the file"',
        )
    if path.suffix.lower() != ".txt":
        raise UsageError(
            f'{path} has the suffix "{path.suffix}".',
            "Files to translate are plain text, one text a line, named .txt.",
            f"To read it as plain text anyway: attuner translate MODEL - < {path}",
        )
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file.",
            "A text file, or a text in quotes.",
            "For standard input type: attuner translate MODEL -",
        )
    if output is not None and output.exists() and output.samefile(path):
        raise UsageError(
            f"--output {output} is the file that is read.", "The result goes into another file."
        )


def _file_batches(path: Path) -> Iterator[list[str]]:
    with path.open("rb") as file:
        batch: list[str] = []
        for line in decode_lines(file, str(path)):
            batch.append(line)
            if len(batch) == 16 * _LARGEST_BATCH:  # large enough to sort by length
                yield batch
                batch = []
        if batch:
            yield batch


def write_json(value: Mapping[str, Any], file: TextIO) -> None:
    """Write one JSON object on one line, in ASCII where the stream knows no more."""
    is_utf8 = (file.encoding or "utf-8").lower().replace("-", "") == "utf8"
    file.write(json.dumps(value, ensure_ascii=not is_utf8, default=str) + "\n")
    file.flush()
