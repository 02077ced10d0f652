"""Lines arrive one by one, in bursts, or not at all."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from attuner.errors import DataError, UsageError
from attuner.text_streams import batches_as_they_come, decode_lines, output_file, write_json


def test_all_lines_in_order() -> None:
    lines = [f"line {number} é" * 20 for number in range(1000)]
    batches = list(batches_as_they_come(io.BytesIO("\n".join(lines).encode()), "input"))
    assert [line for batch in batches for line in batch] == lines
    assert max(map(len, batches)) == 64


def test_nothing() -> None:
    assert list(batches_as_they_come(io.BytesIO(b""), "input")) == []


def test_a_single_line_is_not_held_back() -> None:
    read, write = os.pipe()
    with open(read, "rb") as file:
        batches: Iterator[list[str]] = batches_as_they_come(file, "input")
        os.write(write, b"first\nsec")
        assert next(batches) == ["first"]
        os.write(write, b"ond\nthird\n")
        assert next(batches) == ["second", "third"]
        os.close(write)
        assert list(batches) == []


def test_a_fault_comes_after_the_lines_before_it() -> None:
    batches = batches_as_they_come(io.BytesIO(b"one\ntwo\n\xff\nfour\n"), "standard input")
    assert next(batches) == ["one", "two"]
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value).startswith("standard input:3: byte 0xff is not UTF-8.")


def test_line_ends_and_byte_order_mark() -> None:
    file = ["\ufeffa\r\n".encode(), b"\n", b" b \x0b\n", b"last"]
    assert list(decode_lines(file, "f")) == ["a", "", " b \x0b", "last"]


def test_output_takes_its_name_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with suppress(ZeroDivisionError), output_file(path) as file:
        file.write("half")
        file.write(str(1 / 0))
    assert path.read_text() == "old"
    with output_file(path) as file:
        file.write("new é\n")
    assert path.read_bytes() == "new é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_output_through_a_link_goes_where_it_leads(tmp_path: Path) -> None:
    link, path = tmp_path / "link.txt", tmp_path / "out.txt"
    link.symlink_to(path)
    for text in ("first\n", "second\n"):
        with output_file(link) as file:
            file.write(text)
        assert link.is_symlink()
        assert path.read_text() == text


def test_output_into_a_pipe_does_not_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with output_file(path) as file:
        file.write("line\n")
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    assert path.is_fifo()


def test_output_that_is_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught, output_file(tmp_path):
        pytest.fail("the work has begun")
    assert str(caught.value) == (
        f"{tmp_path}: Is a directory.\n--output names a file that can be written."
    )


def test_json_has_no_word_for_what_is_no_number() -> None:
    file = io.StringIO()
    write_json(
        {
            "pearson": math.nan, "interval": (-math.inf, 1.5), "numpy": np.float32("nan"),
            "row": [np.int64(2), True, None], "folder": {"path": Path("runs/é")},
        },
        file,
    )  # fmt: skip
    assert file.getvalue() == (
        '{"pearson": null, "interval": [null, 1.5], "numpy": null, "row": [2, true, null], '
        '"folder": {"path": "runs/é"}}\n'
    )
