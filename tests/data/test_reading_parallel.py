"""Two parallel text files, and the zip files in which OPUS publishes them."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from readers import error_of, read


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_two_files(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "KDE4.en-fr.en", tmp_path / "KDE4.en-fr.fr.gz"
    ours.write_bytes("\ufeffone\r\n\r\nt\u2028w\x85o".encode())
    theirs.write_bytes(gzip.compress(b"un\n\ndeux\n"))
    units = read(ours, target_path=str(theirs))
    assert [(u.source, u.targets, u.state, u.address.line) for u in units] == [
        ("one", ("un",), "translated", 1),
        ("", (), "untranslated", 2),
        ("t\u2028w\x85o", ("deux",), "translated", 3),
    ]


def test_different_numbers_of_lines(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.en", tmp_path / "a.fr"
    ours.write_text("one\ntwo\nthree\n")
    theirs.write_text("un\n")
    assert error_of(ours, target_path=str(theirs)) == (
        f"{ours} has 3 lines, {theirs} has 1.\n"
        "Line n of one file is the translation of line n of the other: as many in both.\n"
        "Find the line where they part, or take the two files from one export."
    )


def test_missing_target_file(tmp_path: Path) -> None:
    ours = tmp_path / "a.en"
    ours.write_text("one\n")
    assert error_of(ours, target_path=str(tmp_path / "a.eng")) == (
        f'{tmp_path}/a.eng: no such file.\nDid you mean "{tmp_path}/a.en"?'
    )


def test_a_line_in_another_encoding(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.en", tmp_path / "a.fr"
    ours.write_text("one\ntwo\nthree\n")
    theirs.write_bytes("un\nété\n\0\n".encode("latin-1"))
    assert error_of(ours, target_path=str(theirs)) == (
        f"{theirs}:2: byte 0xe9 at byte 1 of the line is not utf-8.\n"
        f"{ours}:3: NUL character in the text.\n"
        "2 bad entries in all.\n"
        "The file is read as utf-8.\n"
        "A text consists of whole Unicode characters other than NUL. Mend them, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )
    skipped: Counter[str] = Counter()
    units = read(ours, target_path=str(theirs), bad_entries="skip", skipped=skipped)
    assert [(unit.source, unit.address.line) for unit in units] == [("one", 1)]
    assert skipped == {"invalid encoding": 1, "NUL character": 1}


@pytest.mark.parametrize("pair", ["en-fr", "fr-en", "en_GB-fr_FR"])
def test_moses_zip(tmp_path: Path, pair: str) -> None:
    one, two = pair.split("-")
    texts = {"en": "one\ntwo\n", "fr": "un\ndeux\n"}
    members = {f"KDE4.{pair}.{code}": texts[code[:2]] for code in (one, two)}
    members |= {f"KDE4.{pair}.ids": "x\ny\n", "README": "read", "LICENSE": "free", "a.txt": "z"}
    path = zipped(tmp_path / f"{pair}.txt.zip", **members)
    units = read(path)
    assert [(unit.source, unit.targets) for unit in units] == [("one", ("un",)), ("two", ("deux",))]
    assert units[1].address.file == f"{path}!KDE4.{pair}.{one if one.startswith('en') else two}"
    assert units[1].address.line == 2


def test_zip_with_a_variant_of_the_source_language(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", **{"K.en": "color\n", "K.en_GB": "colour\n"})
    (unit,) = read(path, target_language="en-GB")
    assert (unit.source, unit.targets) == ("color", ("colour",))


def test_zip_without_the_pair(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", **{"K.de-en.de": "", "K.de-en.en": "", "README.md": ""})
    assert error_of(path) == (
        f"{path}: no pair of members in en and fr; languages found: de, en.\n"
        "A Moses zip holds one text in two languages, as NAME.de-en.de and NAME.de-en.en.\n"
        "Give a zip of the two languages, or set task.source=CODE and task.target=CODE."
    )


def test_zip_with_two_pairs(tmp_path: Path) -> None:
    names = ["A.en-fr.en", "A.en-fr.fr", "B.en-fr.en", "B.en-fr.fr"]
    path = zipped(tmp_path / "a.zip", **dict.fromkeys(names, "x\n"))
    assert error_of(path) == (
        f"{path}: 2 pairs of members in en and fr: A.en-fr.en, B.en-fr.en.\n"
        "A Moses zip holds one text in two languages.\n"
        "Unpack it, and give the two files as path and target_path."
    )


def test_zip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", **{"K.en": b"\n" * (17 * 2**20), "K.fr": "x\n"})
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("K.en").compress_size
    assert error_of(path) == (
        f"{path}!K.en: {packed} bytes that unpack to {17 * 2**20} or more.\n"
        "Text packs at most 200:1.\n"
        "If the file is right, unpack it, and give what was in it."
    )


def test_damaged_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", **{"K.en": "one\n" * 999, "K.fr": "un\n" * 999})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert error_of(path) == (
        f"{path}: the zip file is damaged or cut short (File is not a zip file).\n"
        "A file that ends in .zip is a whole zip file.\n"
        "Fetch it again, or check it with: python -m zipfile --test"
    )
    path.write_bytes(whole[:40] + b"\xff\xff\xff" + whole[43:])
    assert f"{path}: the zip file is damaged or cut short" in error_of(path)
    flagged = bytearray(whole)  # bit 0 of the general flags: encrypted
    for at in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
        flagged[at] |= 1
    path.write_bytes(bytes(flagged))
    assert error_of(path).startswith(f"{path}: cannot be unpacked: File 'K.en' is encrypted")
