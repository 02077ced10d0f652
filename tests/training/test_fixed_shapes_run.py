"""A whole run with micro-batches of one shape learns what a packed one does."""

from __future__ import annotations

import pytest
from lessons import Tune

from attuner.training.events import Planned, Stepped


def test_a_run_learns_the_same(tune: Tune) -> None:
    options = ("training.precision=fp32", "training.epochs=2", "training.evaluate=none")
    _, packed = tune(*options)
    _, fixed = tune(*options, "training.fixed_shapes=true", "output.name=fixed")

    (planned,) = (event for event in fixed if isinstance(event, Planned))
    assert planned.batches == "padded, all to one shape"
    wanted = [event for event in packed if isinstance(event, Stepped)]
    found = [event for event in fixed if isinstance(event, Stepped)]
    assert [event.loss for event in found] == pytest.approx(
        [event.loss for event in wanted], rel=1e-5
    )
    assert [event.grad_norm for event in found] == pytest.approx(
        [event.grad_norm for event in wanted], rel=1e-4
    )
