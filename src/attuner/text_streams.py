"""Lines in, lines out: how the command line reads text and writes results."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from attuner.errors import DataError, UsageError

CATALOG_SUFFIXES = (".po", ".pot", ".mo", ".xlf", ".xliff", ".tmx", ".ts")
_STREAM_BATCH = 64
_FILE_BATCH = 1024  # many lines, so that alike lengths can be translated together


def batches_as_they_come(file: BinaryIO, name: str) -> Iterator[list[str]]:
    """Lines of a stream: those that have arrived, at most 64, without waiting for more.

    A person who types gets an answer after each line; a pipe is translated in full batches.

    Args:
        file: UTF-8, as bytes; `read1` gives what is there.
        name: What to call it in messages.

    Raises:
        DataError: A line is not UTF-8; the lines before it are yielded first.
    """
    number, rest = 0, b""
    while chunk := file.read1(65536):  # type: ignore[attr-defined]
        *lines, rest = (rest + chunk).split(b"\n")
        yield from _grouped(decode_lines(lines, name, number), _STREAM_BATCH)
        number += len(lines)
    if rest:
        yield list(decode_lines([rest], name, number))


def decode_lines(lines: Iterable[bytes], name: str, number: int = 0) -> Iterator[str]:
    """Lines of UTF-8 text without their line ends.

    Args:
        lines: As bytes.
        name: The file, for messages.
        number: How many lines came before.

    Raises:
        DataError: A line is not UTF-8.
    """
    for line in lines:
        number += 1
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{number}: byte 0x{line[error.start]:02x} is not UTF-8.",
                "Text must be UTF-8.",
                f"Convert it first, such as: iconv -f latin1 -t utf-8 {name}",
            ) from error
        yield text.rstrip("\r\n")


def _grouped(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lines by `size`; what came before a fault is not lost."""
    batch: list[str] = []
    try:
        for line in lines:
            batch.append(line)
            if len(batch) == size:
                yield batch
                batch = []
    except DataError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def as_one_text(batches: Iterable[list[str]]) -> Iterator[list[str]]:
    r"""All lines as one text, for a model that takes texts whole.

    >>> list(as_one_text([["a", ""], ["b"]]))
    [['a\n\nb']]
    """
    yield ["\n".join(line for batch in batches for line in batch)]


def text_batches(
    argument: str | None, output: Path | None = None, *, command: str = "translate"
) -> Iterator[list[str]]:
    """What `attuner translate MODEL ARGUMENT` is to translate, or another command to work on.

    Args:
        argument: `-` or None for standard input, the path of a text file, or a text.
        output: The file that will be written, which must not be the one that is read.
        command: The command, for messages.

    Raises:
        UsageError: There is nothing to read, or the file is not plain text.
        DataError: The text is not UTF-8.
    """
    if argument in (None, "-"):
        if argument is None and sys.stdin.isatty():
            raise UsageError(
                f"There is nothing to {command}.",
                "Give a text, a text file, or - for standard input.",
                f'For example: attuner {command} MODEL "Open the file"',
            )
        return batches_as_they_come(sys.stdin.buffer, "standard input")
    if not _means_file(str(argument)):
        return iter([[_utf8(str(argument))]])
    path = Path(str(argument))
    _refuse_file(path, output, command)
    return _file_batches(path)


def _means_file(argument: str) -> bool:
    """Whether an argument is a file, or looks like one that is missing."""
    if os.path.isfile(argument):  # unlike Path.is_file, never raises: a text may be long
        return True
    if "." not in argument or any(char.isspace() for char in argument):
        return False
    from attuner.data.reading import is_data_name

    # .pot is not read as data, but nobody means one as a text.
    return is_data_name(argument) or argument.lower().endswith(CATALOG_SUFFIXES)


def _utf8(text: str) -> str:
    """The text, which as an argument may hold bytes that are no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"The text is not UTF-8: {text}", "Text must be UTF-8.") from error
    return text


def _refuse_file(path: Path, output: Path | None, command: str) -> None:
    if not os.path.isfile(path):
        raise UsageError(
            f"{path}: no such file.",
            "What has no white space and ends like a file is taken for one.",
            f"If it is the text itself, pass it on standard input: "
            f"echo {shlex.quote(str(path))} | attuner {command} MODEL -",
        )
    if path.suffix.lower() in CATALOG_SUFFIXES:
        raise UsageError(
            f"{path} is a catalog, and catalogs cannot be written back yet.",
            f"Files to {command} are plain text, one text a line, named .txt.",
            f'Pass a text instead: attuner {command} MODEL "Open the file"',
        )
    if path.suffix.lower() != ".txt":
        raise UsageError(
            f'{path} has the suffix "{path.suffix}".',
            f"Files to {command} are plain text, one text a line, named .txt.",
            f"To read it as plain text anyway: attuner {command} MODEL - < {path}",
        )
    if output is not None and os.path.exists(output) and output.samefile(path):
        raise UsageError(
            f"--output {output} is the file that is read.", "The result goes into another file."
        )


def _file_batches(path: Path) -> Iterator[list[str]]:
    with path.open("rb") as file:
        yield from _grouped(decode_lines(file, str(path)), _FILE_BATCH)


def write_json(value: Mapping[str, Any], file: TextIO) -> None:
    """Write one JSON object on one line, in ASCII where the stream knows no more.

    JSON has no word for what is no number, such as the correlation of constants: it is null.
    """
    is_utf8 = (file.encoding or "utf-8").lower().replace("-", "") == "utf8"
    file.write(json.dumps(_plain(value), ensure_ascii=not is_utf8, allow_nan=False) + "\n")
    file.flush()


def _plain(value: Any) -> Any:
    """The value in what JSON has words for: NumPy's numbers as Python's, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


@contextmanager
def output_file(path: Path | None) -> Iterator[TextIO]:
    """The file to write results into, or standard output.

    The file takes its name when all is written: a failure in between leaves the old one. Links
    stay links; devices and pipes are written as they are.

    Raises:
        UsageError: It cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or device, not to be replaced
        with _opened(path, path) as file:
            yield file
        return
    place = Path(os.path.realpath(path))  # a link stays one
    partial = place.with_name(f".{place.name}.partial")
    file = _opened(partial, path)
    try:
        with file:
            yield file
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _opened(place: Path, path: Path) -> TextIO:
    try:
        return place.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}.", "--output names a file that can be written."
        ) from error
