"""The reference page of the recipe, made from its schema.

python -m attuner.recipe_reference > docs/reference/recipe.md
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from attuner.recipe_faults import recipe_sections, tag_of

_HEAD = """# Recipe reference

<!-- Made from src/attuner/recipe.py: python -m attuner.recipe_reference > {page} -->

A recipe is a YAML 1.2 file, where `no` is a word and `1e-4` a number. Unknown options are
errors. Every option can be overridden on the command line:

```bash
attuner train recipe.yaml training.learning_rate=1e-4 'data.train[0].encoding=latin-1'
```

A bare value stands for the main option of a section: `model: ID` for `model: {{checkpoint: ID}}`,
`data: strings.po` for `data: {{train: [{{path: strings.po}}]}}`. Given as an override, it leaves
the section's other options as they are.
"""
_PAGE = "docs/reference/recipe.md"
_PRIMITIVES = {float: "number", int: "integer", str: "text", bool: "true or false", Any: "any"}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def reference_page() -> str:
    """The page, in Markdown."""
    return _HEAD.format(page=_PAGE) + "".join(
        _section_text(section, path) for path, section in recipe_sections()
    )


def _section_text(section: type[BaseModel], path: str) -> str:
    rows = "".join(_row(name, field) for name, field in section.model_fields.items())
    title = f"`{path}`" if path else "The whole"
    if tag_of(section):
        title += f" with `name: {tag_of(section)}`"
    words = " ".join((section.__doc__ or "").split())
    table = f"| option | value | default | meaning |\n| --- | --- | --- | --- |\n{rows}"
    return f"\n## {title}\n\n{words}\n\n{table}"


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    value = _value(field.annotation, field.metadata)
    return f"| `{name}` | {value} | {_default(field)} | {meaning} |\n"


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "see below"
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    if default == "":
        return '`""`'
    return f"`{default}`"


def _value(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What may be written, in words.

    >>> _value(Literal["cut", "skip"])
    '`cut`, `skip`'
    >>> _value(int | None)
    'integer'
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [m for meta in parts[1:] for m in getattr(meta, "metadata", [meta])]
        return _value(parts[0], [*inner, *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(_value(part, metadata) for part in parts if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is list:
        return f"list of: {_value(parts[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    bounds = [
        f"{words} {getattr(meta, key):g}"
        for meta in metadata
        for key, words in _BOUNDS.items()
        if hasattr(meta, key)
    ]
    return " ".join([_PRIMITIVES[annotation], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    print(reference_page(), end="")
