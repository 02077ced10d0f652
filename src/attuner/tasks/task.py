"""What a task is: the functions that it hands to the loop, which knows no task.

Shapes, here and everywhere: B batch, S source tokens, T target tokens, N real tokens,
V vocabulary, D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, device, nn

    from attuner.data.features import Ints

Batch = Mapping[str, Any]
# How batches of a fixed shape are called.
FIXED = "padded, all to one shape"


@dataclass(frozen=True, slots=True)
class FixedShape:
    """What every micro-batch is filled up to; rows that it adds hold one token and no target.

    Attributes:
        rows: Examples.
        source_tokens: Tokens of a source, or of a text to classify.
        target_tokens: Tokens of a target, where there are any.
    """

    rows: int
    source_tokens: int
    target_tokens: int = 0


class Task(Protocol):
    """What training and evaluation need to know of a task.

    Attributes:
        batches: How batches are made, in words: `packed`, or `padded` with the reason.
        is_packed: Whether they have no padding.
    """

    batches: str
    is_packed: bool

    def prepared(self, model: nn.Module) -> AbstractContextManager[None]:
        """Hook what the task needs into the model, inside a `with` block."""
        ...

    def collate(
        self, features: Any, rows: Ints, device: device, shape: FixedShape | None = None
    ) -> Batch:
        """The rows as one micro-batch of tensors; of a fixed shape, where batches are padded."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Sum of the losses over the micro-batch's real targets, in nats."""
        ...
