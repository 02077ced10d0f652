"""The metrics of the user's own that a recipe names: found, and tried before hours are spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from attuner.errors import UsageError, nearest
from attuner.evaluation.own_functions import find_own
from attuner.evaluation.own_metrics import OwnMetric

if TYPE_CHECKING:
    from attuner.recipe import Recipe


def find_and_try(
    recipe: Recipe, score: Callable[[Sequence[OwnMetric]], Mapping[str, float]]
) -> list[OwnMetric]:
    """The recipe's own metrics, each of which has been called once.

    Args:
        recipe: Its `evaluation` is used.
        score: Scores what is true against itself; no values where nothing is held out.

    Raises:
        UsageError: A function does not lie where it should, or none gives the best metric.
        UserError: One raised an error, or gave no numbers.
    """
    own = find_own(recipe.evaluation.functions)
    names = score(own) if own else {}
    best, known = recipe.training.best_metric, ["loss", *recipe.task.metrics, *names]
    if names and best is not None and best not in known:
        raise UsageError(
            f"training.best_metric is {best}, which is not scored.", nearest(best, known)
        )
    return own
