"""Attuner attunes a pretrained text model to your own data, and proves that it became better.

    import attuner

    run = attuner.train("recipe.yaml")
    model = attuner.load(run.model_folder)
    model.translate(["Default to expanded threads"])

Importing the package executes nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attuner.lazy_names import lazy_names

if TYPE_CHECKING:
    from attuner.api import evaluate as evaluate
    from attuner.api import export as export
    from attuner.api import load as load
    from attuner.api import pipeline as pipeline
    from attuner.api import predict as predict
    from attuner.api import push as push
    from attuner.api import train as train
    from attuner.errors import UserError as UserError
    from attuner.evaluation.collected import metric as metric
    from attuner.inference.classifier import Classifier as Classifier
    from attuner.inference.translator import Translator as Translator
    from attuner.recipe import Recipe as Recipe
    from attuner.training.run import Run as Run

_WHERE = {
    "Classifier": "attuner.inference.classifier",
    "Recipe": "attuner.recipe",
    "Run": "attuner.training.run",
    "Translator": "attuner.inference.translator",
    "UserError": "attuner.errors",
    "evaluate": "attuner.api",
    "export": "attuner.api",
    "load": "attuner.api",
    "metric": "attuner.evaluation.collected",
    "pipeline": "attuner.api",
    "predict": "attuner.api",
    "push": "attuner.api",
    "train": "attuner.api",
}

__all__ = sorted(_WHERE)
__getattr__ = lazy_names(__name__, _WHERE)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
