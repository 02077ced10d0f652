"""What may change in the recipe of a run that is resumed: one table for all options.

A run that is resumed is to end as one that was never interrupted. Each option is of one kind:

    FREE       the weights, the scores and the order of the data are the same whatever it says
    PLACE      says where data or weights lie, which may be elsewhere: their contents are compared
    INEXACT    the result is neither that of the old recipe nor that of the new one: refused unless
               asked for
    FIXED      what is in the checkpoint would no longer fit, or its place in the data would mean
               another one: always refused
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attuner.errors import RunError
from attuner.recipe import Recipe
from attuner.recipe_faults import show

FREE, PLACE, INEXACT, FIXED = "free", "place", "inexact", "fixed"

# Option or section → kind and reason. The longest name that fits counts; items of lists have the
# name of their list.
RULES: Mapping[str, tuple[str, str]] = {
    "task": (FIXED, "it would be another task, or be scored otherwise"),
    "model": (FIXED, "the checkpoint's weights are those of another model"),
    "model.checkpoint": (PLACE, "the same weights may lie elsewhere"),
    "model.revision": (PLACE, "the same weights may lie elsewhere"),
    "model.tokenizer": (PLACE, "the same tokenizer may lie elsewhere"),
    "model.dropout": (INEXACT, "dropout would differ from here on"),
    "model.self_check": (FREE, "it looks at the model before training only"),
    "model.adapter.save": (FREE, "it says only in which shape the result is delivered"),
    "data": (FIXED, "the place in the data is a number of updates, which would mean others"),
    "data.train.path": (PLACE, "the same files may lie elsewhere"),
    "data.train.target_path": (PLACE, "the same files may lie elsewhere"),
    "data.validation.path": (PLACE, "the same files may lie elsewhere"),
    "data.validation.target_path": (PLACE, "the same files may lie elsewhere"),
    "data.test.path": (PLACE, "the same files may lie elsewhere"),
    "data.test.target_path": (PLACE, "the same files may lie elsewhere"),
    "data.mix.sources.path": (PLACE, "the same files may lie elsewhere"),
    "data.mix.sources.target_path": (PLACE, "the same files may lie elsewhere"),
    "data.license": (FREE, "it says only what the model card says"),
    **{
        f"data.{place}.streaming": (FREE, "the rows are the same, and compared")
        for place in ("train", "validation", "test", "mix.sources")
    },
    "data.cache": (FREE, "token ids are the same"),
    "training.epochs": (INEXACT, "the learning rate of each step follows from the number of steps"),
    "training.max_steps": (
        INEXACT, "the learning rate of each step follows from the number of steps"
    ),
    "training.batch_tokens": (FIXED, "the place in the data is a number of updates"),
    "training.batch_examples": (FIXED, "the place in the data is a number of updates"),
    "training.accumulation": (INEXACT, "sums would be rounded, and dropout drawn, otherwise"),
    "training.learning_rate": (INEXACT, "steps before had another rate"),
    "training.schedule": (INEXACT, "steps before had another rate"),
    "training.warmup_steps": (INEXACT, "steps before had another rate"),
    "training.weight_decay": (INEXACT, "steps before had another one"),
    "training.max_grad_norm": (INEXACT, "steps before had another limit"),
    "training.label_smoothing": (INEXACT, "steps before had another loss"),
    "training.r_drop": (INEXACT, "steps before had another loss"),
    "training.gradient_checkpointing": (INEXACT, "dropout would be drawn otherwise"),
    "training.fixed_shapes": (INEXACT, "sums would be rounded, and dropout drawn, otherwise"),
    "training.ema": (FIXED, "the checkpoint holds a mean of this kind, or none"),
    "training.average_checkpoints": (INEXACT, "older checkpoints may be gone already"),
    "training.precision": (INEXACT, "steps before were rounded otherwise"),
    "training.device": (INEXACT, "devices round otherwise"),
    "training.evaluate": (INEXACT, "the best weights would be looked for at other steps"),
    "training.evaluate_every_steps": (
        INEXACT, "the best weights would be looked for at other steps"
    ),
    "training.save": (FREE, "it says only when checkpoints are written"),
    "training.save_every_steps": (FREE, "it says only when checkpoints are written"),
    "training.keep_checkpoints": (FREE, "it says only how many checkpoints are kept"),
    "training.best_metric": (FIXED, "the best score so far is of another metric"),
    "training.early_stopping": (INEXACT, "the run might have stopped before"),
    "training.on_bad_loss": (FREE, "it counts from here on"),
    "training.max_bad_losses": (FREE, "it counts from here on"),
    "training.layer_decay": (INEXACT, "steps before had other rates"),
    "training.seeds": (FIXED, "the runs that are compared would be others"),
    "training.seed": (FIXED, "the data would come in another order"),
    "generation": (INEXACT, "scores before were measured otherwise"),
    "evaluation.functions": (PLACE, "the same functions may lie elsewhere"),
    "publish": (FREE, "it says only where the result goes"),
    "output": (FREE, "the run stays in its folder"),
}  # fmt: skip
_OF_CHECKPOINTS = ("training.save", "training.save_every_steps", "training.keep_checkpoints")
_OF_LENGTH = ("training.epochs", "training.max_steps")
_PROCESSES, _SHARDED = "number of processes", "sharded model"
_FUNCTIONS = "evaluation.functions, SHA-256 of their files"
_OUTSIDE = {
    _PROCESSES: "What the run is trained with has",
    _SHARDED: "What the run is trained with has",
    _FUNCTIONS: "A metric of the run has",
}
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Change:
    """An option that has another value than when the run began.

    Attributes:
        option: Its name, such as `data.train[0].path`.
        before: Its value then.
        now: Its value now.
        kind: What that means: one of the four above.
        reason: Why.
    """

    option: str
    before: Any
    now: Any
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.option}: {show(self.before)} → {show(self.now)} ({self.reason})"


def find_changes(before: Recipe, now: Recipe) -> list[Change]:
    """All options that differ, new sections last; where the run lies is none of them.

    Args:
        before: The recipe that the run began with.
        now: The one that it is to go on with.
    """
    old, new = (dict(leaves(recipe.model_dump(mode="json"))) for recipe in (before, now))
    found = []
    for option in dict.fromkeys([*old, *new]):
        was, is_now = old.get(option), new.get(option)
        if was != is_now and not option.startswith("output."):
            kind, reason = _rule(option, before, now)
            found.append(Change(option, was, is_now, kind, reason))
    return found


def process_changes(before: int, now: int) -> list[Change]:
    """What differs where a run goes on with another number of processes."""
    reason = "sums would be rounded, and dropout drawn, otherwise"
    change = Change(_PROCESSES, before, now, INEXACT, reason)
    return [] if before == now else [change]


def function_changes(
    before: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]
) -> list[Change]:
    """What differs in the files of own metrics, wherever these lie; see `fingerprints`."""
    if list(before) == list(now):
        return []
    was, is_now = (", ".join(f"{f['name']} {f['sha256'][:8]}" for f in of) for of in (before, now))
    reason = "scores before were measured otherwise"
    return [Change(_FUNCTIONS, was or None, is_now or None, INEXACT, reason)]


def sharding_changes(before: bool, now: bool) -> list[Change]:
    """What differs where a model is no longer sharded, or was not before."""
    change = Change(_SHARDED, before, now, INEXACT, "sums would be rounded otherwise")
    return [] if before == now else [change]


def require_allowed(changes: list[Change], *, inexact: bool) -> None:
    """Refuse changes after which the run would not end as if it had never been interrupted.

    Args:
        changes: What differs.
        inexact: Whether the user wants those that only make the result another one.

    Raises:
        RunError: Some are refused; all of them are named.
    """
    fixed = [change for change in changes if change.kind == FIXED]
    refused = fixed + [c for c in changes if c.kind == INEXACT and not inexact]
    if not refused:
        return
    listed = "\n".join(f"  {change}" for change in changes if change in refused)
    kinds = {_OUTSIDE.get(change.option, "The recipe has") for change in refused}
    what = "The recipe has" if len(kinds) > 1 else kinds.pop()
    start_anew = "start a new run with them: output.name=..."
    raise RunError(
        f"{what} changed since the run began:\n{listed}",
        "A run that is resumed ends as one that was never interrupted, which these do not allow.",
        f"Take them back, or {start_anew}"
        if fixed
        else f"Take them back, {start_anew}, or go on all the same with --inexact: the result is "
        "then of neither recipe.",
    )


def rule_of(option: str) -> tuple[str, str]:
    """Kind and reason of an option, by the longest name in the table that fits.

    >>> rule_of("data.train[2].path")[0], rule_of("data.train[2].weight")[0]
    ('place', 'fixed')
    """
    parts = _INDEX.sub("", option).split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in RULES:
            return RULES[name]
    raise KeyError(option)


def _rule(option: str, before: Recipe, now: Recipe) -> tuple[str, str]:
    """The rule of an option, with the two cases in which others have a say."""
    averages = before.training.average_checkpoints or now.training.average_checkpoints
    if option in _OF_CHECKPOINTS and averages:
        return INEXACT, "training.average_checkpoints takes the mean of other checkpoints then"
    if option in _OF_LENGTH and not averages and _goes_on_alike(before, now):
        return FREE, "a step at a constant rate does not depend on how many follow"
    return rule_of(option)


def _goes_on_alike(before: Recipe, now: Recipe) -> bool:
    """Whether the longer run begins exactly as the shorter one went, its last step included.

    With another schedule the rates differ, and with a share of all updates as warm-up. The last
    step of a run is evaluated in any case: the longer run would have to evaluate there, too.
    """
    old, new = before.training, now.training
    if not old.schedule == new.schedule == "constant" or 0 < new.warmup_steps < 1:
        return False
    if (old.max_steps is None) != (new.max_steps is None):
        return False
    if old.max_steps is None or new.max_steps is None:
        is_evaluated = old.evaluate == "epoch" and old.epochs.is_integer()
        return new.epochs > old.epochs and (is_evaluated or old.evaluate == "none")
    every = old.evaluate_every_steps
    is_evaluated = every is not None and old.max_steps % every == 0
    return new.max_steps > old.max_steps and (is_evaluated or old.evaluate == "none")


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The options of a recipe as a flat list: sections, and lists of sections, are walked into."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, f"{name}[{index}]")
    else:
        yield name, None if value in ({}, []) else value
