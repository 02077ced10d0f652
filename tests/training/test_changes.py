"""What may change in the recipe of a run that is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from attuner.errors import RunError
from attuner.recipe import Recipe
from attuner.training.changes import (
    FIXED,
    FREE,
    INEXACT,
    PLACE,
    RULES,
    find_changes,
    require_allowed,
    rule_of,
)  # fmt: skip

Build = Callable[..., Recipe]


def options(section: type[BaseModel], name: str = "") -> Iterator[str]:
    for key, field in section.model_fields.items():
        inner = [kind for kind in walk(field.annotation) if is_section(kind)]
        path = f"{name}.{key}" if name else key
        if not inner:
            yield path
        for kind in inner:
            yield from options(kind, path)


def walk(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from walk(inner)


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_every_option_has_a_rule_of_its_own_or_of_its_section() -> None:
    every = set(options(Recipe))
    assert {rule_of(option)[0] for option in every} == {FREE, PLACE, INEXACT, FIXED}
    # What is new in the loop has to be thought about: there is no rule for all of `training`.
    assert {o for o in every if o.startswith("training.") and o.count(".") == 1} <= set(RULES)
    known = {o for option in every for o in prefixes(option)}
    assert set(RULES) <= known  # no rule for what is no option


def prefixes(option: str) -> Iterator[str]:
    parts = option.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        ([], ["output.name=other"], {}),
        ([], ["training.keep_checkpoints=1"], {"training.keep_checkpoints": FREE}),
        ([], ["training.on_bad_loss=skip"], {"training.on_bad_loss": FREE}),
        ([], ["training.learning_rate=1e-4"], {"training.learning_rate": INEXACT}),
        ([], ["training.batch_examples=8"], {"training.batch_examples": FIXED}),
        ([], ["data.train=elsewhere.jsonl"], {"data.train[0].path": PLACE}),
        ([], ["data.train[0].weight=2"], {"data.train[0].weight": FIXED}),
        ([], ["model=elsewhere"], {"model.checkpoint": PLACE}),
        ([], ["generation.num_beams=2"], {"generation.num_beams": INEXACT}),
        ([], ["training.epochs=4"], {"training.epochs": INEXACT}),
        (["training.schedule=constant"], ["training.epochs=4"], {"training.epochs": FREE}),
        (["training.schedule=constant"], ["training.epochs=2"], {"training.epochs": INEXACT}),
        (
            ["training.schedule=constant", "training.epochs=2.5"], ["training.epochs=4"],
            {"training.epochs": INEXACT},  # there would be no evaluation after 2.5
        ),
        (
            ["training.schedule=constant", "training.warmup_steps=0.1"], ["training.epochs=4"],
            {"training.epochs": INEXACT},  # warm-up would have been longer
        ),
        (
            ["training.schedule=constant", "training.max_steps=4", "training.evaluate=none"],
            ["training.max_steps=8"], {"training.max_steps": FREE},
        ),
        (
            ["training.average_checkpoints=2"], ["training.keep_checkpoints=2"],
            {"training.keep_checkpoints": INEXACT},
        ),
        (
            [], ["model.adapter=lora"],
            dict.fromkeys(
                ["model.adapter", *(f"model.adapter.{key}" for key in
                ("kind", "rank", "alpha", "dropout", "rslora"))], FIXED,
            ) | {"model.adapter.save": FREE},
        ),
    ],
)  # fmt: skip
def test_what_a_change_means(
    lesson_recipe: Build, before: list[str], now: list[str], kinds: dict[str, str]
) -> None:
    changes = find_changes(lesson_recipe(*before), lesson_recipe(*before, *now))
    found = {change.option: change.kind for change in changes}
    assert {o: k for o, k in found.items() if o != "model.adapter"} == {
        o: k for o, k in kinds.items() if o != "model.adapter"
    }


def test_what_breaks_exactness_is_refused_unless_it_is_asked_for(lesson_recipe: Build) -> None:
    before = lesson_recipe()
    now = lesson_recipe(
        "training.learning_rate=1e-4", "training.epochs=5", "training.keep_checkpoints=1"
    )
    changes = find_changes(before, now)
    with pytest.raises(RunError) as caught:
        require_allowed(changes, inexact=False)

    assert str(caught.value) == (
        "The recipe has changed since the run began:\n"
        "  training.epochs: 3.0 → 5.0 (the learning rate of each step follows from the number of "
        "steps)\n"
        "  training.learning_rate: 0.003 → 0.0001 (steps before had another rate)\n"
        "A run that is resumed ends as one that was never interrupted, which these do not allow.\n"
        "Take them back, start a new run with them: output.name=..., or go on all the same with "
        "--inexact: the result is then of neither recipe."
    )
    require_allowed(changes, inexact=True)


def test_what_does_not_fit_the_checkpoint_is_always_refused(lesson_recipe: Build) -> None:
    changes = find_changes(
        lesson_recipe(), lesson_recipe("training.seed=7", "training.ema.decay=0.9")
    )
    with pytest.raises(RunError) as caught:
        require_allowed(changes, inexact=True)

    assert str(caught.value) == (
        "The recipe has changed since the run began:\n"
        "  training.seed: 42 → 7 (the data would come in another order)\n"
        "  training.ema.decay: null → 0.9 (the checkpoint holds a mean of this kind, or none)\n"
        "A run that is resumed ends as one that was never interrupted, which these do not allow.\n"
        "Take them back, or start a new run with them: output.name=..."
    )
