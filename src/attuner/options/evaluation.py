"""What scores beside the task's metrics."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from attuner.options.section import Section


def _function(reference: str) -> str:
    """A function's place and name; a file in full, so that the recipe of the run finds it, too."""
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"{reference}. Expected: my_metrics.py:kappa or package.module:kappa")
    return f"{os.path.abspath(place)}:{name}" if place.endswith(".py") else reference


class Evaluation(Section):
    """What validation and test examples are scored by beside the task's metrics."""

    functions: Annotated[
        list[Annotated[str, AfterValidator(_function)]],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ] = []
    """Metrics of your own, one or a list: `my_metrics.py:kappa`, counted from the recipe's folder,
    or `package.module:kappa` of what is installed. Each is a function of predictions and labels, or
    of texts and the references of each, that returns a dictionary of numbers; of these more is
    better."""
