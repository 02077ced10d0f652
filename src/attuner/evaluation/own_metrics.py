"""Metrics of one's own: functions of predictions and of what is true that give numbers by name."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from attuner.errors import UserError, first_line
from attuner.evaluation.bootstrap import SEED, interval, resamples
from attuner.evaluation.known_metrics import KNOWN

# Predictions and what is true, of all examples → values by name.
ScoreFunction = Callable[[Any, Any], Mapping[str, float]]
# A user's function is called once for each resample: fewer, then.
NUM_RESAMPLES = 200

_NAME = re.compile(r"[\w.@-]+")
_EXPECTED = (
    "Expected a function of predictions and of what is true that returns a dictionary of numbers, "
    'such as {"kappa": 0.5}.'
)
_REMEDY = "Mend it, or leave it out."


class OwnMetric:
    """A function of the user's that is looked after: numbers, by the same names each time.

    Args:
        function: Predictions and what is true → values by name.
        name: What messages and signatures call it.
        digest: Of the file that it is in, for signatures.
    """

    def __init__(self, function: ScoreFunction, name: str = "", digest: str = "") -> None:
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.signature = f"{self.name}@{digest[:8]}" if digest else self.name
        self._function = function
        self._names: list[str] = []

    @classmethod
    def of(cls, function: ScoreFunction) -> OwnMetric:
        """A function; one that is looked after already stays as it is."""
        return function if isinstance(function, cls) else cls(function)

    def __call__(self, predictions: Any, targets: Any) -> dict[str, float]:
        """The values by name.

        Args:
            predictions: An array or list; the function is given a copy.
            targets: Likewise.

        Raises:
            UserError: The function raised an error, or returned something else.
        """
        try:
            found = self._function(_copied(predictions), _copied(targets))
        except Exception as error:
            raise UserError(
                f"{self.name} raised {_in_words(error, self._function)}.", _EXPECTED, _REMEDY
            ) from error
        self._require_numbers(found)
        self._names = self._names or list(found)
        if set(found) != set(self._names):
            raise UserError(
                f"{self.name} gave {', '.join(self._names)} before, and now {', '.join(found)}.",
                "Expected the same names each time.",
                _REMEDY,
            )
        return {name: float(found[name]) for name in self._names}

    def _require_numbers(self, found: Any) -> None:
        is_mapping = isinstance(found, Mapping) and bool(found)
        if not is_mapping or not all(isinstance(value, Real) for value in found.values()):
            raise UserError(f"{self.name} returned {found!r}.", _EXPECTED, _REMEDY)
        for name in found:
            if name in KNOWN or not isinstance(name, str) or not _NAME.fullmatch(name):
                raise UserError(
                    f"{self.name} gives a score the name {name!r}"
                    f"{', which is that of another metric' if name in KNOWN else ''}.",
                    "Expected a name of its own, of letters, digits, `_`, `-`, `.` and `@`.",
                    "Choose another one.",
                )


@dataclass(frozen=True, slots=True)
class OwnScores:
    """Values of own metrics, with their 95 % intervals and the settings behind them."""

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    signatures: dict[str, str]


def own_scores(
    functions: Sequence[ScoreFunction],
    predictions: Any,
    targets: Any,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> OwnScores:
    """Score by all functions.

    Args:
        functions: Of predictions and what is true.
        predictions: An array or list of N.
        targets: Likewise.
        num_resamples: Of the bootstrap behind the intervals, at most `NUM_RESAMPLES`; 0 for none.
            Those that a function makes nothing of, such as of one label alone, are left out.
        seed: Seed of the bootstrap.

    Raises:
        UserError: A function raised an error or gave no numbers, or two gave one name.
    """
    num = min(num_resamples, NUM_RESAMPLES)
    made = OwnScores({}, {}, {})
    for function in map(OwnMetric.of, functions):
        values = function(predictions, targets)
        if twice := made.scores.keys() & values.keys():
            raise UserError(
                f"{function.name} gives a score the name {min(twice)!r}, as another function does.",
                "Expected names of their own.",
                "Choose another one.",
            )
        drawn = _resampled(function, predictions, targets, num, seed)
        left_out = "" if len(drawn) == num else f" of {num}"
        settings = f"n={len(targets)}|bootstrap={len(drawn)}{left_out}|seed={seed}"
        for name, value in values.items():
            made.scores[name] = value
            made.signatures[name] = f"{settings}|{function.signature}"
            bounds = interval(np.array([row[name] for row in drawn], np.float64))
            if bounds[0] <= bounds[1]:  # they are no numbers where no resample has a value
                made.intervals[name] = bounds
    return made


def _resampled(
    function: OwnMetric, predictions: Any, targets: Any, num: int, seed: int
) -> list[dict[str, float]]:
    """The values of each resample, but of those that the function makes nothing of."""
    found = []
    for counts in resamples(len(targets), num=num, seed=seed) if num else ():
        for row in counts.astype(np.int64):
            drawn = np.repeat(np.arange(len(row)), row)
            try:
                found.append(function(_taken(predictions, drawn), _taken(targets, drawn)))
            except UserError:
                continue
    return found


def _taken(values: Any, rows: Any) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]


def _copied(values: Any) -> Any:
    """What a function may change without harm."""
    return values.copy() if isinstance(values, np.ndarray) else list(values)


def _in_words(error: Exception, function: ScoreFunction) -> str:
    """An error, and the last line of the function's own file on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == file] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return f"{type(error).__name__}: {first_line(error)} ({place})"
