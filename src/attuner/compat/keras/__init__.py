"""Keras for models of transformers: `compile`, `fit` and callbacks, on torch.

    import os

    os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras
    from attuner.compat.keras import KerasMetricCallback, PushToHubCallback, TaskModel

Unlike the rest of `attuner.compat` this imports its library, which sees to its own settings.
"""

from __future__ import annotations

from attuner.errors import MissingExtraError, UsageError

__all__ = ["KerasMetricCallback", "PushToHubCallback", "TaskModel"]

_REMEDY = (
    'Set KERAS_BACKEND=torch, in Python with os.environ["KERAS_BACKEND"] = "torch" before anything '
    "imports Keras, and start Python anew."
)

try:
    import keras
except (ImportError, ValueError) as error:
    if getattr(error, "name", None) == "keras":
        raise MissingExtraError("attuner.compat.keras", "keras") from None
    raise UsageError(
        f"Keras cannot be imported: {error}.".replace("..", "."),
        "Attuner's models are torch modules: Keras has to compute with torch.",
        _REMEDY,
    ) from error
if keras.backend.backend() != "torch":
    raise UsageError(
        f"Keras computes with {keras.backend.backend()} here.",
        "Attuner's models are torch modules: Keras has to compute with torch.",
        _REMEDY,
    )

from attuner.compat.keras.callbacks import KerasMetricCallback, PushToHubCallback  # noqa: E402
from attuner.compat.keras.model import TaskModel  # noqa: E402
