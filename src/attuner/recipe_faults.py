"""The faults of a recipe in plain words: where, the value seen, what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from attuner.errors import nearest, nearest_name
from attuner.recipe import Recipe
from attuner.recipe_yaml import Location

_LONGEST_VALUE = 60
_INT_FAULTS = ("int_parsing", "int_parsing_size", "int_type", "int_from_float")
# Pydantic's words speak of parsing; these of what to write. By its types of errors.
_EXPECTED = {
    **dict.fromkeys(_INT_FAULTS, "a whole number, such as 3"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number, such as 0.5 or 1e-4"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "list_type": "a list",
    "dict_type": "a section, such as {key: value}",
}


def describe_faults(
    errors: Sequence[Mapping[str, Any]], origins: Mapping[Location, str], name: str
) -> list[str]:
    """One line for each of pydantic's errors, in the order in which the recipe was written.

    Args:
        errors: What `ValidationError.errors()` gives.
        origins: Where each location of the recipe was written: `recipe.yaml:12`, `override
            training.epochs=0`, `--source`.
        name: The recipe's file, or "": where a location comes from that was written nowhere.
    """
    rank = {location: index for index, location in enumerate(origins)}
    found = []
    for error in _without_misspelt(errors):
        location, holders, inner = _resolve(error["loc"])
        is_section = error["type"] in ("model_type", "model_attributes_type")
        tag = (*location, "name") if error["type"].startswith("union_tag") else location
        written = _written(tag if tag in origins else location, origins)
        where = f"{origins.get(written, name)} {spell(location)}".strip()
        said = _said(error, location, inner if is_section else holders)
        found.append((rank.get(written, len(rank)), f"{where}: {said}"))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def spell(location: Location) -> str:
    """A location as one types it.

    >>> spell(("data", "train", 0, "path"))
    'data.train[0].path'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def show(value: Any) -> str:
    """A value in YAML's spelling, shortened to 60 characters.

    >>> show({"by": "file", "test": None, "seeds": [1, True]})
    '{by: file, test: null, seeds: [1, true]}'
    """
    text = " ".join(_flow(value).split()) or '""'
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _said(
    error: Mapping[str, Any], location: Location, sections: tuple[type[BaseModel], ...]
) -> str:
    """The value seen and what was expected."""
    kind, value = error["type"], error["input"]
    known = [field for section in sections for field in section.model_fields]
    if kind == "extra_forbidden":
        return f"unknown option (value {show(value)}). {_meant(str(location[-1]), known)}"
    if kind == "missing":
        field = next(
            s.model_fields[str(location[-1])] for s in sections if location[-1] in s.model_fields
        )
        return f"missing. {_first_sentence(field.description or '')}"
    if kind == "union_tag_not_found":
        return "name is missing. Expected: the name of a task, such as translation."
    if kind in ("literal_error", "union_tag_invalid"):
        context = error["ctx"]
        options = re.findall(r"'([^']*)'", context.get("expected_tags") or context["expected"])
        seen = str(context.get("tag", value))
        prefix = "unknown key " if error["loc"][-1] == "[key]" else ""
        return f"{prefix}{show(seen)}. {nearest(seen, options)}"
    if kind == "value_error":
        return f"{error['ctx']['error']}."
    if kind in ("model_type", "model_attributes_type"):
        return f"{show(value)}. Expected: a section with the keys {', '.join(sorted(known))}."
    if kind == "too_short":
        return f"{show(value)}. Expected: at least {error['ctx']['min_length']} item."
    if kind == "string_type":
        return f"{show(value)}. Expected: text; put it in quotes where it is meant as text."
    expected = _EXPECTED.get(kind)
    if expected is None:
        message = error["msg"].removeprefix("Input should be ").removeprefix("Value should ")
        expected = f"{message[0].lower()}{message[1:]}"
    return f"{show(value)}. Expected: {expected}."


def _without_misspelt(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors but for "missing" where the option stands misspelt: one slip, one fault."""
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]

    def is_misspelt(loc: Location) -> bool:
        names = [str(other[-1]) for other in unknown if other[:-1] == loc[:-1]]
        holders = _resolve(loc)[1]
        known = sorted(field for section in holders for field in section.model_fields)
        return any(nearest_name(name, known) == loc[-1] for name in names)

    return [e for e in errors if e["type"] != "missing" or not is_misspelt(e["loc"])]


def _meant(name: str, known: Sequence[str]) -> str:
    """The option that an unknown name means: of that very name in another section, or alike."""
    elsewhere = [
        f"{path}.{name}" + (f" of {tag_of(section)}" if tag_of(section) else "")
        for path, section in recipe_sections()
        if name in section.model_fields
    ]
    if elsewhere:
        return f"There is {' and '.join(elsewhere)}."
    return nearest(name, known)


def _first_sentence(text: str) -> str:
    """The first sentence of an option's words of help."""
    sentence = " ".join(text.split()).split(". ")[0].rstrip(".")
    return f"{sentence}."


def _written(location: Location, origins: Mapping[Location, str]) -> Location:
    """The location that stands for this one in `origins`.

    Itself; else the last that lies in it; else the nearest section around it; else ().
    """
    if location in origins:
        return location
    within = [known for known in origins if known[: len(location)] == location]
    around = (location[:length] for length in range(len(location) - 1, 0, -1))
    return within[-1] if within else next((part for part in around if part in origins), ())


def _resolve(
    loc: Location,
) -> tuple[Location, tuple[type[BaseModel], ...], tuple[type[BaseModel], ...]]:
    """Pydantic's location without its own marks, the sections that hold it, those in it."""
    holders: tuple[type[BaseModel], ...] = ()
    inner: tuple[type[BaseModel], ...] = (Recipe,)
    location: list[str | int] = []
    for part in loc:
        tagged = tuple(section for section in inner if part and tag_of(section) == part)
        if isinstance(part, str) and part.endswith("]"):  # [key], literal['balanced'], dict[...]
            continue
        if isinstance(part, int):
            location.append(part)
        elif tagged:
            inner = tagged
        else:
            location.append(part)
            holders = inner
            fields = [s.model_fields[part] for s in holders if part in s.model_fields]
            inner = tuple(s for field in fields for s in _sections(field.annotation))
    return tuple(location), holders, inner


def tag_of(section: type[BaseModel]) -> str:
    """The discriminator of a task's section, which pydantic puts into locations; else ""."""
    field = section.model_fields.get("name")
    return str(field.default) if field and get_origin(field.annotation) is Literal else ""


def recipe_sections() -> list[tuple[str, type[BaseModel]]]:
    """Every section of the recipe, once, with the path under which it is first met.

    >>> [path for path, _ in recipe_sections()][:6]
    ['', 'task', 'task', 'task', 'model', 'model.vocabulary']
    """
    found: dict[type[BaseModel], str] = {}

    def visit(section: type[BaseModel], path: str) -> None:
        if section in found:
            return
        found[section] = path
        for name, field in section.model_fields.items():
            index = "[0]" if "list[" in str(field.annotation) else ""
            for inner in _sections(field.annotation):
                visit(inner, f"{path}.{name}{index}".removeprefix("."))

    visit(Recipe, "")
    return [(path, section) for section, path in found.items()]


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The recipe's sections that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)
