"""YAML as recipes use it: the core schema of YAML 1.2, plain data only, every key with its line.

The core schema (YAML 1.2.2, section 10.3) makes `no` a word, for it is Norwegian, and `1e-4` a
number; dates stay text. Anchors, aliases and tags are refused: plain data cannot grow
exponentially while it is read, and cannot call code.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

from attuner.errors import RecipeError

Location = tuple[str | int, ...]

_PLAIN_DATA = "A recipe is plain data: keys, values, lists."
_DEEPEST = 50  # beyond it, ruamel's time grows with the square of the depth
_LONGEST = 128 * 2**10  # characters; ruamel reads some 100,000 a second
_DEPTH_CHANGES = {
    **dict.fromkeys(("SequenceStartEvent", "MappingStartEvent"), 1),
    **dict.fromkeys(("SequenceEndEvent", "MappingEndEvent"), -1),
}
# Longer ones are floats, or text: Python refuses to convert thousands of digits.
_INTEGER = re.compile(r"[-+]?[0-9]{1,100}")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,80}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def plain_scalar(text: str) -> Any:
    """What an unquoted word means in YAML 1.2.

    >>> plain_scalar("no"), plain_scalar("1e-4"), plain_scalar("true"), plain_scalar("~")
    ('no', 0.0001, True, None)
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if infinity := _INFINITY.fullmatch(text):
        return float(f"{infinity[1]}inf")
    return text


def read_yaml(text: str, name: str) -> tuple[Any, dict[Location, int]]:
    """Read one YAML document.

    Args:
        text: The document.
        name: What to call it in messages: the path of its file.

    Returns:
        The data (None for an empty document), and for the location of each key and list item
        its line, counted from 1.

    Raises:
        RecipeError: A syntax error, a key given twice, an anchor, alias or tag, too long a text.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError
    from ruamel.yaml.reader import ReaderError

    lines: dict[Location, int] = {}
    if len(text) > _LONGEST:
        raise RecipeError(
            f"{name}: more than {_LONGEST // 2**10} KiB.",
            "A recipe is a short text; the data that it names are in files of their own.",
        )
    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            _refuse_references(event, name)
            depth += _DEPTH_CHANGES.get(type(event).__name__, 0)
            if depth > _DEEPEST:
                where = f"{name}:{event.start_mark.line + 1}"
                raise RecipeError(f"{where}: nested more than {_DEEPEST} deep.", _PLAIN_DATA)
        node = YAML(typ="safe", pure=True).compose(io.StringIO(text))
        return (None if node is None else _construct(node, (), lines, name)), lines
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = (error.problem or error.context or "not YAML").removeprefix("but ")
        raise RecipeError(f"{where}: {what}.", "The file must be YAML.") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            f"{name}:{line}: control character U+{error.character:04X}.",
            "A recipe is a text file.",
        ) from error
    except YAMLStreamError as error:
        raise RecipeError(f"{name}: {error}.", "A recipe is a text file.") from error


def read_recipe_file(path: Path) -> tuple[Any, dict[Location, int]]:
    """Read the YAML of a recipe file: see `read_yaml`."""
    if path.is_dir():
        raise RecipeError(f"{path} is a folder.", "A recipe is a YAML file.")
    try:
        with path.open("rb") as opened:  # one byte too many is enough to refuse it
            text = opened.read(4 * _LONGEST + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise RecipeError(
            f"{path}:{line}: byte 0x{byte:02x} is not UTF-8.", "A recipe is UTF-8 text."
        ) from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}.", "A recipe is a readable file.") from error
    return read_yaml(text, str(path))


def _refuse_references(event: Any, name: str) -> None:
    """Fail on anchors, aliases and explicit tags."""
    where = f"{name}:{event.start_mark.line + 1}"
    if getattr(event, "anchor", None) is not None:
        is_alias = type(event).__name__ == "AliasEvent"
        mark, kind = ("*", "alias") if is_alias else ("&", "anchor")
        raise RecipeError(
            f"{where}: {kind} {mark}{event.anchor}.",
            f"{_PLAIN_DATA} Write the value out, or put it in quotes.",
        )
    if getattr(event, "tag", None) is not None:
        raise RecipeError(
            f"{where}: tag {event.tag}.", f"{_PLAIN_DATA} Write it without a tag, or in quotes."
        )


def _construct(node: Any, location: Location, lines: dict[Location, int], name: str) -> Any:
    """The data behind a node; fills `lines`."""
    if node.id == "scalar":
        return node.value if node.style else plain_scalar(node.value)
    if node.id == "sequence":
        items = []
        for index, child in enumerate(node.value):
            lines[*location, index] = child.start_mark.line + 1
            items.append(_construct(child, (*location, index), lines, name))
        return items
    mapping: dict[str, Any] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if key_node.id != "scalar":
            raise RecipeError(f"{name}:{line}: a key is a list or mapping.", "Keys are words.")
        key = key_node.value
        inner = (*location, key)
        if key in mapping:
            raise RecipeError(
                f"{name}:{line}: {'.'.join(map(str, inner))} is given twice, "
                f"first on line {lines[inner]}.",
                "Each key stands once.",
            )
        lines[inner] = line
        mapping[key] = _construct(child, inner, lines, name)
    return mapping
