"""What all sections of a recipe have in common, and what may be written shorter."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A part of the recipe: immutable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def shorthand(key: str, section: Any) -> BeforeValidator:
    """Let a bare string stand for a `section` of which only `key` is given."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value,
        json_schema_input_type=str | section,
    )


def items(item: Any, bare: Any = str) -> BeforeValidator:
    """Let one bare item, of a type that `bare` names, stand for a list of it alone."""
    return BeforeValidator(
        lambda value: [value] if isinstance(value, bare) else value,
        json_schema_input_type=item | list[item],
    )
