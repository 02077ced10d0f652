"""Generated bad input: every reader answers with units, counts or a UserError, nothing else."""

from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attuner.data.reading import read_units
from attuner.data.units import Unit
from attuner.errors import UserError
from fuzz.probe import input_of, probe
from fuzz.samples import SAMPLES

FILES = sorted(set(SAMPLES) - {"a.yaml"})
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


@pytest.mark.parametrize(
    "name",
    sorted(set(FILES) - {"a.mo", "a.zip", "b.jsonl.gz", "a.txt", "a.parquet"}),
)
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


@pytest.mark.parametrize("name", FILES)
def test_samples_are_sound(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.fr").write_text("un\ndeux\n")
    (tmp_path / name).write_bytes(SAMPLES[name]())
    assert read(tmp_path / name, "fail", Counter())


@pytest.mark.parametrize("name", SAMPLES)
def test_some_of_the_fuzzer_s_inputs(tmp_path: Path, name: str) -> None:
    """`python -m fuzz` feeds many more; a fault there names the input's number."""
    sample = SAMPLES[name]()
    for index in range(150):
        outcome = probe(tmp_path / name, input_of(name, sample, 0, index), index=index)
        assert not outcome.fault, (index, outcome.fault)


@pytest.mark.parametrize("name", FILES)
def test_damaged_samples(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.fr").write_text("un\ndeux\n")

    @SETTINGS
    @given(damaged(SAMPLES[name]()))
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        check(tmp_path / name)

    run()


@pytest.mark.parametrize("name", FILES)
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
