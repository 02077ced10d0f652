"""Runs side by side: where their recipes differ, what they scored, and whether that is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attuner.errors import UserError
from attuner.evaluation.paired import Difference, Resampled, difference
from attuner.training.changes import leaves
from attuner.training.kept import Kept, num_common, read_kept, resample_kept
from attuner.training.past import PastRun


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What differs between runs.

    Attributes:
        runs: Two or more; the others are compared with the first.
        options: Options of the recipes that differ, with the value of each run.
        metrics: All that were scored.
        differences: By name of each run but the first: by metric, its score above the first run's.
        warnings: Why scores cannot be compared, or not fully.
        num_examples: Held-out examples that all runs share; 0 where they are not the same.
    """

    runs: tuple[PastRun, ...]
    options: Mapping[str, tuple[Any, ...]]
    metrics: tuple[str, ...]
    differences: Mapping[str, Mapping[str, Difference]]
    warnings: tuple[str, ...]
    num_examples: int


def compare_runs(runs: Sequence[PastRun]) -> RunComparison:
    """Compare runs with the first of them."""
    metrics = tuple(dict.fromkeys(name for run in runs for name in (*run.before, *run.after)))
    scored = [run for run in runs if run.after]
    warnings = [
        f"{run.name} is not finished: it has no scores after tuning."
        for run in runs
        if not run.after
    ]
    if len({run.split for run in scored}) > 1:
        listed = ", ".join(f"{run.name} on {run.split}" for run in scored)
        warnings.append(f"Scores are not comparable: they are of different parts: {listed}.")
    for metric in metrics:
        settings = {r.name: r.signatures[metric] for r in scored if metric in r.signatures}
        if len(set(settings.values())) > 1:
            listed = ", ".join(f"{name} {setting}" for name, setting in settings.items())
            warnings.append(f"{metric} was measured by different settings: {listed}")
    several = [run.name for run in scored if run.num_seeds > 1]
    kept = {run.name: read_kept(run) for run in scored if run.num_seeds == 1}
    if several:
        warnings.append(
            f"{', '.join(several)}: the scores are means over seeds. Differences are tested "
            "between single runs, such as runs/NAME/seed-42."
        )
    missing = [name for name, found in kept.items() if found is None]
    if missing:
        warnings.append(
            f"{', '.join(missing)}: what the model said of the held-out examples is not there; "
            "whether they are the same cannot be told."
        )
    differences: dict[str, Mapping[str, Difference]] = {}
    num_examples = 0
    base = kept.get(runs[0].name)
    if base is not None:
        num_examples = len(base.examples)
        base_scores: dict[str, Resampled | None] = {}
        for run in runs[1:]:
            found = kept.get(run.name)
            if found is None:
                continue
            if found.examples != base.examples:
                warnings.append(_other_examples(runs[0], base, run, found))
                num_examples = 0
                continue
            differences[run.name] = _differences(runs[0], base, base_scores, run, found)
    return RunComparison(
        tuple(runs),
        differing_options(runs),
        metrics,
        differences,
        tuple(warnings),
        num_examples,
    )


def differing_options(runs: Sequence[PastRun]) -> dict[str, tuple[Any, ...]]:
    """Options that have not the same value in all runs; None where a recipe has none."""
    recipes = [dict(leaves(run.options)) for run in runs]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    found = {name: tuple(recipe.get(name) for recipe in recipes) for name in names}
    return {
        name: values
        for name, values in found.items()
        if not name.startswith("output.") and any(value != values[0] for value in values)
    }


def _differences(
    base_run: PastRun,
    base: Kept,
    base_scores: dict[str, Resampled | None],
    run: PastRun,
    kept: Kept,
) -> dict[str, Difference]:
    """By metric; scores that the kept outputs do not give again are left out."""
    found = {}
    for metric in run.after:
        if metric not in base_run.after or metric == "loss":
            continue
        try:
            if metric not in base_scores:
                base_scores[metric] = resample_kept(base_run, base, metric)
            one, other = base_scores[metric], resample_kept(run, kept, metric)
        except (UserError, KeyError, ValueError, TypeError):
            continue  # a library is missing, or a file is not what this version writes
        if one is not None and other is not None:
            found[metric] = difference(one, other)
    return found


def _other_examples(first: PastRun, base: Kept, run: PastRun, kept: Kept) -> str:
    return (
        f"Scores are not comparable: {first.name} and {run.name} were scored on different "
        f"examples ({len(base.examples):,} and {len(kept.examples):,}, "
        f"{num_common(base, kept):,} of them the same)."
    )
