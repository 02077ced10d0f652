"""Files made to do harm are refused with a reason: the named attacks, and what the fuzzer found."""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from readers import error_of, read

from attuner.data import textfiles
from fuzz.samples import TMX, TS, XLIFF1

WITHOUT_ENTITIES = (
    "For safety, XML is read without entities other than &amp; &lt; &gt; &quot; &apos;\n"
    "Replace it by its text."
)
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
SAMPLES = {
    "a.xlf": XLIFF1.partition("?>")[2],
    "a.tmx": TMX.partition(">")[2],
    "a.ts": TS.partition(">")[2],
}


def xml(path: Path, declared: str, text: str, attribute: str = "") -> Path:
    """The sound file of this format with a DTD, a text and an attribute of the root."""
    sample = SAMPLES[path.name].replace("é", text)
    root = sample[1 : sample.index(" ")]
    head, _, rest = sample.partition(" ")
    path.write_text(f"<!DOCTYPE {root} {declared}>{head} {attribute}{rest}", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    ("declared", "text", "entity"),
    [
        pytest.param('[<!ENTITY x "inside">]', "&x;", "x", id="internal"),
        pytest.param('[<!ENTITY x SYSTEM "file:///etc/passwd">]', "&x;", "x", id="file"),
        pytest.param('[<!ENTITY x SYSTEM "http://localhost:9/x">]', "&x;", "x", id="network"),
        pytest.param('[<!ENTITY % x SYSTEM "file:///etc/passwd">%x;]', "a", "x", id="parameter"),
    ],
)  # fmt: skip
def test_entities(tmp_path: Path, name: str, declared: str, text: str, entity: str) -> None:
    path = xml(tmp_path / name, declared, text)
    assert error_of(path) == f"{path}: entity `{entity}` is declared or used.\n{WITHOUT_ENTITIES}"


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(("text", "attribute"), [("&l9;", ""), ("a", 'x="&l9;" ')])
def test_billion_laughs(tmp_path: Path, name: str, text: str, attribute: str) -> None:
    path = xml(tmp_path / name, f"[{LAUGHS}]", text, attribute)
    as_entity = f"{path}: entity `l0` is declared or used.\n{WITHOUT_ENTITIES}"
    # Where libxml2 sees the whole file, or an attribute, it counts the laughs itself.
    as_laughs = (
        f"{path}:1: not well-formed XML: Maximum entity amplification factor exceeded, "
        "see xmlCtxtSetMaxAmplification..\n"
        "The whole file must be XML in the encoding that it declares.\n"
        "Export it again, or check it with: xmllint --noout"
    )
    assert error_of(path) == (as_entity if name == "a.tmx" and not attribute else as_laughs)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_outer_dtd_is_not_fetched(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.dtd").write_text('<!ENTITY x "from outside">')
    path = xml(tmp_path / name, f'SYSTEM "{tmp_path / "a.dtd"}"', "&x;")
    assert error_of(path) == f"{path}:1: entity `x` is declared or used.\n{WITHOUT_ENTITIES}"


@pytest.mark.parametrize("name", SAMPLES)
def test_an_inclusion_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    namespace = "http://www.w3.org/2001/XInclude"
    include = f'<i:include xmlns:i="{namespace}" href="{tmp_path}/secret.txt" parse="text"/>'
    path = xml(tmp_path / name, 'SYSTEM "x"', include)
    skipped: Counter[str] = Counter()
    assert not any("secret" in unit.source for unit in read(path, skipped=skipped))


def packed(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    "base", ["../../K", "/etc/K", "C:\\K", "a/../../K", "..\\K", "\\\\host\\K"]
)
def test_zip_names_that_lead_out(tmp_path: Path, base: str) -> None:
    path = packed(tmp_path / "a.zip", {f"{base}.en": b"one\n", f"{base}.fr": b"un\n"})
    assert error_of(path) == (
        f"{path}: the member {base}.en has a name that leads out of the archive.\n"
        "A Moses zip holds plain files, such as NAME.de-en.de and NAME.de-en.en.\n"
        "Get the archive from where it is published, or pack the two files again."
    )


def test_zip_of_links(tmp_path: Path) -> None:
    members = {"K.en": b"/etc/passwd", "K.fr": b"/etc/passwd"}
    path = packed(tmp_path / "a.zip", members, external_attr=0o120777 << 16)
    assert error_of(path) == (
        f"{path}: the member K.en is a symbolic link.\n"
        "A Moses zip holds plain files, such as NAME.de-en.de and NAME.de-en.en.\n"
        "Get the archive from where it is published, or pack the two files again."
    )


def test_zip_bomb_that_declares_a_small_size(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"K.en": b"a\n" * 2**20, "K.fr": b"b\n"})
    content = path.read_bytes()
    for at in (content.index(b"PK\x03\x04") + 22, content.index(b"PK\x01\x02") + 24):
        content = content[:at] + struct.pack("<I", 4) + content[at + 4 :]
    path.write_bytes(content)
    assert error_of(path) == (
        f"{path}: the zip file is damaged or cut short (Bad CRC-32 for file 'K.en').\n"
        "A file that ends in .zip is a whole zip file.\n"
        "Fetch it again, or check it with: python -m zipfile --test"
    )


def test_damaged_lzma(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("K.en", "one\n" * 99)
        archive.writestr("K.fr", "un\n" * 99)
    content = path.read_bytes()
    path.write_bytes(content[:50] + b"\xff" * 8 + content[58:])
    assert error_of(path) == (
        f"{path}: the zip file is damaged or cut short (Corrupt input data).\n"
        "A file that ends in .zip is a whole zip file.\n"
        "Fetch it again, or check it with: python -m zipfile --test"
    )


def test_zip_names_in_no_encoding(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"é.en": b"one\n", "é.fr": b"un\n"})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xe9e"))
    happened, *_ = error_of(path).splitlines()
    assert happened.startswith(
        f"{path}: the zip file is damaged or cut short ('utf-8' codec can't decode byte 0xe9"
    )


def test_zip_in_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = packed(tmp_path / "b.zip", {"K.en": b"one\n", "K.fr": b"un\n"}).read_bytes()
    path = packed(tmp_path / "a.zip", {"b.zip": inner})
    assert error_of(path).startswith(
        f"{path}: no pair of members in en and fr; languages found: zip.\n"
    )


def test_zip_with_a_host_of_languages(tmp_path: Path) -> None:
    codes = [f"{a}{b}-{n:02}" for a in "ab" for b in "abcdefgh" for n in range(100)]
    path = packed(tmp_path / "a.zip", {f"K.{code}": b"" for code in codes})
    start = time.process_time()
    assert "no pair of members in en and fr" in error_of(path)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.json.gz", "a.po.gz", "a.tmx.gz"])
def test_gzip_bomb(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "_SMALL_BYTES", 2**18)
    path = tmp_path / name
    head = {"a.csv.gz": b"en,fr\n", "a.json.gz": b"[", "a.tmx.gz": b"<tmx>"}.get(name, b"")
    path.write_bytes(gzip.compress(head + b"\n" * 2**20, 9))
    happened, *rest = error_of(path).splitlines()
    num_unpacked = int(happened.removesuffix(" or more.").rpartition(" ")[2])
    assert happened == (
        f"{path}: {path.stat().st_size} bytes that unpack to {num_unpacked} or more."
    )
    assert 2**18 < num_unpacked <= 2**20 + 1
    assert rest == [
        "Text packs at most 200:1.",
        "If the file is right, unpack it, and give what was in it.",
    ]


def test_a_line_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "_MAX_LINE_BYTES", 2**20)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * (8 * 2**20)))
    tracemalloc.start()
    said = error_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said == f"{path}:1: the line is longer than 1 MiB.\nA line holds one text or one row."
    assert peak < 4 * 2**20


@pytest.mark.parametrize("deep", ["[", '{"a":'])
def test_deep_json(tmp_path: Path, deep: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(deep * 100_000 + "\n" + '{"en": "one", "fr": "un"}\n')
    skipped: Counter[str] = Counter()
    assert [unit.source for unit in read(path, bad_entries="skip", skipped=skipped)] == ["one"]
    assert skipped == {"invalid JSON": 1}


def test_json_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"en": float("nan"), "fr": "a"},
        {"en": "a", "fr": float("inf")},
        {"en": "a\0", "fr": "b"},
    ]
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"en": "a", "fr": "\\ud800"}'
    )
    skipped: Counter[str] = Counter()
    assert read(path, bad_entries="skip", skipped=skipped) == []
    assert skipped == {"not a text": 2, "NUL character": 1, "invalid encoding": 1}


# What the fuzzer found.


def test_messages_do_not_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\x1b[2J\u202een,fr\n")
    assert error_of(path).splitlines()[1] == (
        "Expected a column `en` or `source` or `translation`; found: \\x1b[2J\\u202een, fr."
    )


def test_messages_are_short(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\t".join(f"column{n}" for n in range(50_000)))
    found = error_of(path).splitlines()[1]
    assert len(found) == 1003
    assert found.endswith("column49999.")


def test_po_line_of_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text(" " * 200_000 + "x")
    start = time.process_time()
    assert error_of(path).startswith(f"{path}:1: PO syntax error: cannot be read: ")
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("tail", "line", "what"),
    [
        ('#~ msgid "x"\n', 7, "msgid without msgstr"),
        ('#~ msgid "x"\n#~ msgstr\n', 8, "cannot be read: #~ msgstr"),
        ('#~ msgid "x"\n#~\n#~ msgstr "y"\n', 7, "msgid without msgstr"),
        ('#~ msgid "x"\n\n#~ msgstr "y"\n', 7, "msgid without msgstr"),
        ('#~ msgid "x"\n#~oops\n#~ msgstr "y"\n', 8, "cannot be read: #~oops"),
    ],
)
def test_obsolete_po_entries_do_not_vanish(tmp_path: Path, tail: str, line: int, what: str) -> None:
    path = tmp_path / "a.po"
    head = (
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "a"\nmsgstr "b"\n\n'
    )
    path.write_text(head + tail)
    assert error_of(path) == (
        f"{path}:{line}: PO syntax error: {what}.\n"
        "An entry is msgid and msgstr, each followed by text in double quotes.\n"
        "Check the file with: msgfmt --check"
    )


def test_a_plural_count_of_thousands_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text(f'msgid ""\nmsgstr "Plural-Forms: nplurals={"9" * 5000}; plural=0;\\n"\n')
    assert error_of(path) == (
        f'{path}: the header has "Plural-Forms: nplurals={"9" * 51}...": no language has so many '
        "forms.\n"
        "It is a number and a C expression with a value below it.\n"
        "Write for example: nplurals=2; plural=(n > 1);"
    )


def test_mo_entries_that_share_their_bytes(tmp_path: Path) -> None:
    path, count = tmp_path / "a.mo", 20_000
    table = struct.pack("<2I", 16 * count, 28) * count
    path.write_bytes(struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + 2 * table)
    assert error_of(path) == (
        f"{path}: not a whole MO file: entry 1 overlaps with others.\n"
        "An MO file is what msgfmt writes.\n"
        "Compile it again from its PO file with msgfmt."
    )


def test_mo_context_with_nul(tmp_path: Path) -> None:
    path = tmp_path / "a.mo"
    key, value = b"\0x\4one", b"un"
    tables = struct.pack("<4I", len(key), 44, len(value), 44 + len(key))
    path.write_bytes(struct.pack("<7I", 0x950412DE, 0, 1, 28, 36, 0, 0) + tables + key + value)
    skipped: Counter[str] = Counter()
    assert read(path, bad_entries="skip", skipped=skipped) == []
    assert skipped == {"NUL character": 1}


def test_ts_plural_without_forms_is_untranslated(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text(
        '<TS version="2.1" language="fr"><context><name>c</name><message numerus="yes">'
        '<source>%n files</source><translation type="unfinished"/></message></context></TS>'
    )
    assert [(unit.source, unit.targets, unit.state) for unit in read(path)] == [
        ("%n files", (), "untranslated")
    ]


def test_parquet_times_that_python_cannot_express(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    late = pyarrow.array([2**62], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"en": late, "fr": ["a"]}), path)
    said = error_of(path).splitlines()
    assert said[0].startswith(f"{path}: not a readable Parquet file: ")
    assert said[1:] == ["The file must be whole Parquet."]
