"""YAML faults, each with its line; nothing but plain data."""

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.errors import RecipeError
from attuner.recipe_yaml import plain_scalar, read_recipe_file, read_yaml

PLAIN = "A recipe is plain data: keys, values, lists."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("null", None), ("~", None),
        ("1e-4", 1e-4), ("1e-05", 1e-05), (".5", 0.5), ("-3", -3), ("0x1f", 31), ("0o17", 15),
        ("010", 10), ("1_000", "1_000"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("-.inf", float("-inf")), ("1.e4", 1e4), ("e4", "e4"), ("+", "+"),
    ],
)  # fmt: skip
def test_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)
    assert read_yaml(f"key: {text}", "r.yaml")[0] == {"key": value}


def test_quoted_words_are_text() -> None:
    assert read_yaml("a: '1'\nb: \"true\"\nc: |\n  12\n", "r.yaml")[0] == {
        "a": "1",
        "b": "true",
        "c": "12\n",
    }


def test_lines_of_keys_and_items() -> None:
    _, lines = read_yaml("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "r.yaml")
    assert lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "r.yaml:3: a is given twice, first on line 1.\nEach key stands once."),
        (
            "a:\n  b: 1\n  b: 2",
            "r.yaml:3: a.b is given twice, first on line 2.\nEach key stands once.",
        ),
        (
            "a: 1\nb: &x 1",
            f"r.yaml:2: anchor &x.\n{PLAIN} Write the value out, or put it in quotes.",
        ),
        (
            "a: *.po",
            f"r.yaml:1: alias *.po.\n{PLAIN} Write the value out, or put it in quotes.",
        ),
        (
            "a: !!python/object:os.system x",
            "r.yaml:1: tag tag:yaml.org,2002:python/object:os.system.\n"
            f"{PLAIN} Write it without a tag, or in quotes.",
        ),
        ("a: b: c", "r.yaml:1: mapping values are not allowed here.\nThe file must be YAML."),
        (
            "a: 1\n\tb: 2",
            "r.yaml:2: found character '\\t' that cannot start any token.\nThe file must be YAML.",
        ),
        ("a: 1\n---\nb: 2", "r.yaml:2: found another document.\nThe file must be YAML."),
        ("a: 1\nb: \x01", "r.yaml:2: control character U+0001.\nA recipe is a text file."),
        ("? [1]\n: 2", "r.yaml:1: a key is a list or mapping.\nKeys are words."),
        ("[" * 5000 + "]" * 5000, f"r.yaml:1: nested more than 50 deep.\n{PLAIN}"),
    ],
)
def test_faults(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "r.yaml")
    assert str(caught.value) == said


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    with pytest.raises(RecipeError) as caught:
        read_recipe_file(path)
    assert str(caught.value) == f"{path}:2: byte 0xe9 is not UTF-8.\nA recipe is UTF-8 text."


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe_file(tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder.\nA recipe is a YAML file."


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(RecipeError):
        read_yaml(text, "r.yaml")


def test_a_long_text_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("training:\n" * 20_000)
    with pytest.raises(RecipeError) as caught:
        read_recipe_file(path)
    assert str(caught.value) == (
        f"{path}: more than 128 KiB.\n"
        "A recipe is a short text; the data that it names are in files of their own."
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [("9" * 5000, math.inf), ("-" + "9" * 5000, -math.inf), ("0x" + "f" * 5000, "0x" + "f" * 5000)],
)
def test_numbers_of_thousands_of_digits(text: str, meant: object) -> None:
    assert plain_scalar(text) == meant
