"""Read parallel text: two files with a text a line, or both in a zip as OPUS publishes them."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import product, zip_longest
from pathlib import Path
from typing import IO, BinaryIO, cast

from attuner.data.asked import Asked
from attuner.data.languages import is_code, of_sides
from attuner.data.textfiles import decoded_lines, open_bytes, refuse_bomb
from attuner.data.units import Address, Unit
from attuner.errors import DataError

# What zipfile and its unpackers say of a damaged file; UnicodeError is of a member's name.
_DAMAGED: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
_DAMAGED += (OSError, struct.error, UnicodeError)
_NOT_LANGUAGES = ("ids", "txt", "xml", "md")


def read_parallel(path: Path, target_path: Path, asked: Asked) -> Iterator[Unit]:
    """Read two text files; line n of one is the translation of line n of the other.

    Raises:
        DataError: The numbers of lines differ, or a file cannot be read.
    """
    with open_bytes(path) as ours, open_bytes(target_path) as theirs:
        yield from _paired(ours, theirs, str(path), str(target_path), asked)


def read_moses_zip(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read the two members `NAME.SOURCE` and `NAME.TARGET` of a zip file, unpacking nothing.

    Raises:
        DataError: There is no such pair or more than one, the packing is damaged, or unpacks
            to far more than text does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            ours, theirs = _pair_members(path, archive, asked)
            for member in (ours, theirs):
                info = archive.getinfo(member)
                _refuse_odd_member(path, info)
                # zipfile reads no more than the size that is declared.
                refuse_bomb(f"{path}!{member}", info.compress_size, info.file_size)
            with archive.open(ours) as our_stream, archive.open(theirs) as their_stream:
                names = (f"{path}!{ours}", f"{path}!{theirs}")
                yield from _paired(_binary(our_stream), _binary(their_stream), *names, asked)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: the zip file is damaged or cut short ({error}).",
            "A file that ends in .zip is a whole zip file.",
            "Fetch it again, or check it with: python -m zipfile --test",
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # a password, an exotic packing
        raise DataError(
            f"{path}: cannot be unpacked: {error}.",
            "A zip file is unencrypted and packed with deflate, bzip2 or lzma.",
        ) from error


def _binary(stream: IO[bytes]) -> BinaryIO:
    return cast(BinaryIO, stream)


def _paired(
    ours: BinaryIO, theirs: BinaryIO, our_name: str, their_name: str, asked: Asked
) -> Iterator[Unit]:
    our_lines = decoded_lines(ours, our_name, asked.encoding)
    their_lines = decoded_lines(theirs, their_name, asked.encoding)
    num_ours = num_theirs = 0
    for source, target in zip_longest(our_lines, their_lines):
        num_ours += source is not None
        num_theirs += target is not None
        if source is None or target is None:
            continue
        if source.fault or target.fault:
            name, line = (our_name, source) if source.fault else (their_name, target)
            asked.note_bad_encoding(f"{name}:{line.number}", line.fault)
            continue
        address = Address(our_name, str(source.number), source.number, catalog=our_name)
        unit = asked.unit(address, source.text, (target.text,))
        if unit is not None:
            yield unit
    if num_ours != num_theirs:
        raise DataError(
            f"{our_name} has {num_ours} lines, {their_name} has {num_theirs}.",
            "Line n of one file is the translation of line n of the other: as many in both.",
            "Find the line where they part, or take the two files from one export.",
        )


def _pair_members(path: Path, archive: zipfile.ZipFile, asked: Asked) -> tuple[str, str]:
    by_base: dict[str, dict[str, str]] = {}
    for name in archive.namelist():
        base, dot, language = name.rpartition(".")
        if dot and is_code(language) and language not in _NOT_LANGUAGES:
            by_base.setdefault(base, {})[language] = name
    pairs = []
    for languages in by_base.values():
        sides = of_sides(languages, asked.source_language, asked.target_language)
        pairs += [(languages[one], languages[other]) for one, other in product(*sides)]
    if len(pairs) == 1:
        return pairs[0]
    wanted = f"{asked.source_language} and {asked.target_language}"
    if pairs:
        raise DataError(
            f"{path}: {len(pairs)} pairs of members in {wanted}: "
            + ", ".join(ours for ours, _ in sorted(pairs)[:5])
            + ".",
            "A Moses zip holds one text in two languages.",
            "Unpack it, and give the two files as path and target_path.",
        )
    found = sorted({language for languages in by_base.values() for language in languages})
    raise DataError(
        f"{path}: no pair of members in {wanted}; languages found: {', '.join(found) or 'none'}.",
        "A Moses zip holds one text in two languages, as NAME.de-en.de and NAME.de-en.en.",
        f"Give a zip of the two languages, or set {asked.typed('source', 'CODE')} and "
        f"{asked.typed('target', 'CODE')}.",
    )


def _refuse_odd_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse names that lead out of a folder, and links: whoever unpacked them would be misled.

    Nothing is unpacked here, but the name goes on, as the address of the texts.
    """
    name = member.filename
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    leads_out = re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name)
    if is_link or leads_out:
        what = "is a symbolic link" if is_link else "has a name that leads out of the archive"
        raise DataError(
            f"{path}: the member {name} {what}.",
            "A Moses zip holds plain files, such as NAME.de-en.de and NAME.de-en.en.",
            "Get the archive from where it is published, or pack the two files again.",
        )
