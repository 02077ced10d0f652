"""Generated bad input: every reader answers with units, counts or a UserError, nothing else."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attuner.data.reading import read_units
from attuner.data.units import Unit
from attuner.errors import UserError

PO = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: fr\\n"\n'
    '"Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\n#: a.c:1\n#, fuzzy\n#| msgid "o"\n'
    'msgctxt "é"\nmsgid "one"\nmsgstr "un"\n\nmsgid "%d"\nmsgid_plural "%ds"\nmsgstr[0] "a"\n'
    'msgstr[1] "b"\n\n#~ msgid "x"\n#~ msgstr "y"\n'
)
XLIFF1 = (
    '<?xml version="1.0" encoding="UTF-8"?><xliff version="1.2"><file source-language="en" '
    'target-language="fr"><body><trans-unit id="1"><source>é <x id="1" equiv-text="%s"/></source>'
    '<target state="new">b</target></trans-unit></body></file></xliff>'
)
XLIFF2 = (
    '<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="fr">'
    '<file id="f"><unit id="u"><segment><source>é</source><target>b</target></segment></unit>'
    "</file></xliff>"
)
TMX = (
    '<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header/><body><tu><tuv xml:lang="en">'
    '<seg>a <ph>é</ph></seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu></body></tmx>'
)
TS = (
    '<!DOCTYPE TS><TS version="2.1" language="fr"><context><name>é</name><message numerus="yes">'
    "<source>a</source><translation><numerusform>b</numerusform><numerusform>c</numerusform>"
    "</translation></message></context></TS>"
)
JSONL = '{"en": "one é", "fr": ["un", "une"], "catalog": "c"}\n{"en": "two", "fr": "deux"}\n'


def mo() -> bytes:
    from translate.storage.mo import mofile
    from translate.storage.pypo import pofile

    compiled = mofile()
    for unit in pofile.parsestring(PO.encode()).units:
        compiled.addunit(compiled.UnitClass.buildfromunit(unit))
    return bytes(compiled)


def moses() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("K.en-fr.en", "one é\ntwo\n" * 9)
        archive.writestr("K.en-fr.fr", "un\ndeux\n" * 9)
    return packed.getvalue()


SAMPLES: dict[str, Callable[[], bytes]] = {
    "a.po": PO.encode,
    "a.mo": mo,
    "b.xlf": XLIFF1.encode,
    "c.xlf": XLIFF2.encode,
    "a.tmx": TMX.encode,
    "a.ts": TS.encode,
    "a.csv": 'en,fr\n"one, é",un\n"t""wo",deux\n'.encode,
    "a.tsv": "en\tfr\none é\tun\n".encode,
    "a.json": lambda: ("[" + JSONL.strip().replace("\n", ",") + "]").encode(),
    "a.jsonl": JSONL.encode,
    "b.jsonl.gz": lambda: gzip.compress(JSONL.encode()),
    "a.zip": moses,
    "a.txt": "one é\ntwo\n".encode,
}
# What trips parsers: quotes, separators, brackets, entities, NUL, broken and wide encodings.
TRIPS = [b'"', b"\\", b"\n", b"\r", b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xff\xfe", b"&x;"]
TRIPS += [b"<", b">", b"]]>", b"<!--", b",", b"\t", b"[", b"{", b"}" * 9, b"#~ ", b"#| ", b"#"]
TRIPS += [
    b"msgid ",
    b'msgstr "',
    b"msgstr[2] ",
    b"charset=utf-16",
    b"\\ud800",
    b"1e999",
    b"9" * 5000,
]

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def damaged(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample with a few pieces cut out, doubled or put in."""
    content = sample
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 30)))
        piece = draw(st.one_of(st.sampled_from(TRIPS), st.binary(max_size=8), st.just(b"")))
        keep = draw(st.sampled_from([b"", content[start:stop]]))
        content = content[:start] + keep + piece + content[stop:]
    return content


def read(path: Path, mode: Literal["fail", "skip"], skipped: Counter[str]) -> list[Unit]:
    options = {"target_path": str(path.with_suffix(".fr"))} if path.suffix == ".txt" else {}
    return list(
        read_units(
            str(path),
            source_language="en",
            target_language="fr",
            bad_entries=mode,
            skipped=skipped,
            **options,  # type: ignore[arg-type]
        )
    )


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"a.mo", "a.zip", "b.jsonl.gz", "a.txt"}))
def test_a_packed_file_holds_the_same(tmp_path: Path, name: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_bytes(SAMPLES[name]())
    packed.write_bytes(gzip.compress(SAMPLES[name]()))

    def pairs(path: Path) -> list[object]:
        return [(unit.source, unit.targets) for unit in read(path, "fail", Counter())]

    assert pairs(packed) == pairs(plain) != []


def check(path: Path) -> None:
    """Both modes end well; what `skip` yields can be written and has nothing broken in it."""
    try:
        strict: list[Unit] | None = read(path, "fail", Counter())
    except UserError:
        strict = None
    skipped: Counter[str] = Counter()
    try:
        units = read(path, "skip", skipped)
    except UserError:
        assert strict is None
        return
    assert strict is None or units == strict
    assert (strict is not None) or skipped
    for unit in units:
        for text in (unit.source, *unit.targets):
            assert type(text) is str
            assert "\0" not in text
            text.encode()


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_sound(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.fr").write_text("un\ndeux\n")
    (tmp_path / name).write_bytes(SAMPLES[name]())
    assert read(tmp_path / name, "fail", Counter())


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_samples(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.fr").write_text("un\ndeux\n")

    @SETTINGS
    @given(damaged(SAMPLES[name]()))
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        check(tmp_path / name)

    run()


@pytest.mark.parametrize("name", SAMPLES)
def test_random_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.fr").write_text("un\ndeux\n")

    @settings(SETTINGS, max_examples=20)
    @given(
        st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8")))
    )
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        check(tmp_path / name)

    run()


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-32", "shift_jis", "utf-7", "cp1252", "gb18030"]
)
def test_random_bytes_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"

    @settings(SETTINGS, max_examples=20)
    @given(st.binary(max_size=60))
    def run(content: bytes) -> None:
        path.write_bytes("en,fr\na,b\n".encode(encoding) + content)
        languages = {"source_language": "en", "target_language": "fr"}
        with contextlib.suppress(UserError):
            list(read_units(str(path), **languages, encoding=encoding))

    run()
