"""From a file, overrides and flags to a `Recipe`, and back to YAML."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from attuner.errors import RecipeError
from attuner.ready_recipes import list_recipes
from attuner.recipe import Recipe
from attuner.recipe_faults import describe_faults, show, spell
from attuner.recipe_yaml import Location, plain_scalar, read_recipe_file, read_yaml

# What a bare value given for a section stands for, as in recipe.py.
_MAIN_KEYS = {"task": "name", "model": "checkpoint", "data": "train"}
# A checkpoint given on the command line takes the place of a recipe's training from scratch.
_CHECKPOINT: Location = ("model", "checkpoint")
_FROM_SCRATCH = ("config", "tokenizer", "vocabulary")
_FLAGS: dict[str, Location] = {
    "task": ("task", "name"),
    "source": ("task", "source"),
    "target": ("task", "target"),
    "text": ("task", "text"),
    "text_pair": ("task", "text_pair"),
    "label": ("task", "label"),
    "model": _CHECKPOINT,
    "data": ("data", "train"),
    "name": ("output", "name"),
    "functions": ("evaluation", "functions"),
}
_FIRST_RUN = "--task translation --source en --target fr --model ID --data"
_OVERRIDE = re.compile(
    r"(?P<key>[A-Za-z_][\w-]*(?:\[\d{1,6}\]|\.[A-Za-z_][\w-]*)*)=(?P<value>.*)", re.S
)
_KEY_PART = re.compile(r"\[(\d+)\]|([A-Za-z_][\w-]*)")


def load_recipe(
    path: Path | None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """Read a recipe file, apply flags and then overrides, and check all of it.

    Args:
        path: YAML file; None where flags and overrides say everything.
        overrides: `section.key=value`, the value as in YAML: `training.learning_rate=1e-4`,
            `data.train[0].path=x.po`, `data.columns={source: en}`. A bare value for a section
            sets its main key and keeps the others: `model=ID`, `data=x.po`. Only what a
            checkpoint excludes goes: configuration, tokenizer, vocabulary.
        flags: `task`, `source`, `target`, `text`, `text_pair`, `label`, `model`, `data`, `name`,
            and `source_column` and `target_column`, which are those of all training sources;
            `functions`, those of `evaluation.functions`; None means not given.

    Raises:
        RecipeError: The file cannot be read, or the recipe has faults: all of them are named.
    """
    tree: Any = None
    lines: dict[Location, int] = {}
    if path is not None:
        _refuse_data(path)
        _refuse_missing(path)
        tree, lines = read_recipe_file(path)
    name = str(path) if path is not None else ""
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{name} holds {show(tree)}.",
            f"A recipe has the sections {', '.join(Recipe.model_fields)}.",
            "Start from a ready one: attuner recipes list",
        )
    origins = {location: f"{name}:{line}" for location, line in lines.items()}
    if path is not None:
        _count_from(path.parent, tree)
    faults = _apply_flags(tree, origins, flags)
    faults += _apply_overrides(tree, origins, overrides)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        faults += describe_faults(error.errors(include_url=False), origins, name)
    if faults:
        raise _all_faults(faults, path)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included; `load_recipe` gives an equal one."""
    return dump_values(recipe.model_dump(mode="json"))


def dump_values(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, in their order."""
    from ruamel.yaml import YAML

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    yaml.width = 1_000_000  # a folded string is hard to read, and to find
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def _count_from(folder: Path, tree: dict[str, Any]) -> None:
    """Let the files of own metrics that a recipe file names be counted from its folder."""
    section = tree.get("evaluation")
    functions = section.get("functions") if isinstance(section, dict) else None
    listed = [functions] if isinstance(functions, str) else functions
    if isinstance(section, dict) and isinstance(listed, list):
        section["functions"] = [
            str(folder / name) if isinstance(name, str) and ".py:" in name else name
            for name in listed
        ]


def _refuse_data(path: Path) -> None:
    from attuner.data.reading import is_data_name

    # JSON is YAML, and plain text may be anything: these can be recipes.
    if is_data_name(path.name) and path.suffix.lower() not in (".json", ".txt"):
        raise RecipeError(
            f"{path} is a data file by its suffix.",
            "A recipe is a YAML file.",
            f"For a first run without a recipe, give it as data: {_FIRST_RUN} {path}",
        )


def _refuse_missing(path: Path) -> None:
    if os.path.exists(path):  # unlike Path.exists, never raises
        return
    remedy = "Start from a ready one: attuner recipes list"
    if path.stem in list_recipes():
        remedy = f"{path.stem} is a ready recipe. Copy it: attuner recipes copy {path.stem} {path}"
    raise RecipeError(f"{path}: no such file.", "A recipe is a YAML file.", remedy)


def _all_faults(faults: Sequence[str], path: Path | None) -> RecipeError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    remedy = "Options and their defaults: attuner schema"
    if path is None:
        remedy += f"\nWithout a recipe file, a first run needs: {_FIRST_RUN} FILE"
    listed = "\n".join(f"  {fault}" for fault in faults)
    return RecipeError(f"{path or 'The recipe'} has {count}:\n{listed}", remedy=remedy)


def _apply_flags(
    tree: dict[str, Any], origins: dict[Location, str], flags: Mapping[str, Any]
) -> list[str]:
    """Put flags into `tree`; return the faults."""
    given = {flag: value for flag, value in flags.items() if value not in (None, [], ())}
    if {"source", "target"} & set(given) and "task" not in tree:
        given.setdefault("task", "translation")
    if {"text", "text_pair", "label"} & set(given) and "task" not in tree:
        given.setdefault("task", "classification")
    columns = {side: given.pop(f"{side}_column", None) for side in ("source", "target")}
    faults = []
    for flag, value in given.items():
        value = list(value) if isinstance(value, tuple) else value
        fault = _assign(tree, origins, _FLAGS[flag], value, f"--{flag.replace('_', '-')}")
        faults += [fault] if fault else []
    _write_out_shorthands(tree)
    data = tree.get("data")
    sources = data.get("train") if isinstance(data, dict) else None
    for side, column in columns.items():
        if column is None:
            continue
        for index in range(len(sources) if isinstance(sources, list) else 0):
            place = ("data", "train", index, "columns", side)
            fault = _assign(tree, origins, place, column, f"--{side}-column")
            faults += [fault] if fault else []
    return faults


def _apply_overrides(
    tree: dict[str, Any], origins: dict[Location, str], overrides: Sequence[str]
) -> list[str]:
    """Put `key=value` overrides into `tree`, in order; return the faults."""
    faults = []
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        if match is None:
            faults.append(f"override {show(override)}: Expected: section.key=value.")
            continue
        location: Location = tuple(
            int(index) if index else key for index, key in _KEY_PART.findall(match["key"])
        )
        origin = f"override {show(override)}"
        try:
            value = _parse_value(match["value"])
        except RecipeError as error:
            faults.append(f"{origin}: {error.happened.removeprefix('value:1: ')}")
            continue
        fault = _assign(tree, origins, location, value, origin)
        faults += [fault] if fault else []
    return faults


def _parse_value(text: str) -> Any:
    """What the right side of an override means: a YAML list, mapping, quoted text or word.

    Anything else is text as it stands, so that `data.train=*.po` needs no quotes.
    """
    text = text.strip()
    return read_yaml(text, "value")[0] if text[:1] in tuple("[{\"'") else plain_scalar(text)


def _assign(
    tree: dict[str, Any],
    origins: dict[Location, str],
    location: Location,
    value: Any,
    origin: str,
) -> str | None:
    """Set one value in `tree`, making sections on the way; return the fault, if any."""
    section = location[0]
    if len(location) == 1 and section in _MAIN_KEYS and not isinstance(value, dict):
        location = (section, _MAIN_KEYS[str(section)])
    _write_out_shorthands(tree)
    place: Any = tree
    for depth, part in enumerate(location):
        fits = isinstance(place, list) if isinstance(part, int) else isinstance(place, dict)
        if not fits:
            kind = "a list" if isinstance(part, int) else "a section"
            return f"{origin}: {spell(location[:depth])} is {show(place)}, not {kind}."
        if isinstance(part, int) and part > len(place):
            return f"{origin}: {spell(location[:depth])} has {len(place)} items, counted from 0."
        if depth + 1 == len(location):
            _put(place, part, value)
        else:
            missing: Any = [] if isinstance(location[depth + 1], int) else {}
            known = part < len(place) if isinstance(part, int) else part in place
            if not known or place[part] is None:
                _put(place, part, missing)
            place = place[part]
    if location == _CHECKPOINT and value is not None:
        for key in _FROM_SCRATCH:
            tree["model"].pop(key, None)
    for old in [known for known in origins if known[: len(location)] == location]:
        del origins[old]
    origins[location] = origin
    return None


def _put(place: Any, part: str | int, value: Any) -> None:
    if isinstance(part, int) and part == len(place):
        place.append(value)
    else:
        place[part] = value


def _write_out_shorthands(tree: dict[str, Any]) -> None:
    """Turn bare values into the sections that they stand for, so that keys can be set in them."""
    for section, key in _MAIN_KEYS.items():
        if isinstance(tree.get(section), str | list):
            tree[section] = {key: tree[section]}
    model, data = tree.get("model"), tree.get("data")
    if isinstance(model, dict) and isinstance(model.get("adapter"), str):
        model["adapter"] = {"kind": model["adapter"]}
    if not isinstance(data, dict):
        return
    for holder, key in (
        (data, "train"), (data, "validation"), (data, "test"), (data.get("mix"), "sources"),
    ):  # fmt: skip
        if isinstance(holder, dict) and isinstance(holder.get(key), str | dict):
            holder[key] = [holder[key]]
        if isinstance(holder, dict) and isinstance(holder.get(key), list):
            holder[key] = [{"path": s} if isinstance(s, str) else s for s in holder[key]]
