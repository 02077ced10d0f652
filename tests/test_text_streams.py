"""Lines arrive one by one, in bursts, or not at all."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attuner.errors import DataError
from attuner.text_streams import batches_as_they_come, decode_lines, write_json


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
