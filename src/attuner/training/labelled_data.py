"""From the recipe's sources to labelled examples: where `recipe` meets the data room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from attuner.data.asked import recipe_options
from attuner.data.labelled import LabelColumns, LabelledExample, read_labelled
from attuner.data.labelled_preparation import PreparedLabels, prepare_labelled
from attuner.options.data import Source
from attuner.recipe import Recipe
from attuner.training.data import Progress, n_and_seed, sources_by_place, watched


def prepare_labels(recipe: Recipe, *, progress: Progress | None = None) -> PreparedLabels:
    """Read, filter and divide the examples of a recipe.

    Args:
        recipe: Its `task` and `data` sections are used.
        progress: Called with the number of examples read so far, and 0.

    Raises:
        DataError: A source cannot be read, or too little is left of it.
    """
    skipped: Counter[str] = Counter()
    classes: dict[str, None] = {}
    data, split = recipe.data, recipe.data.split
    parts = {
        place: _examples(recipe, place, sources, skipped, classes)
        for place, sources in sources_by_place(recipe).items()
    }
    train = parts["data.train"]
    prepared = prepare_labelled(
        watched(train, progress) if progress else train,
        parts.get("data.validation"),
        parts.get("data.test"),
        by=split.by,
        validation_size=split.validation,
        test_size=split.test,
        train_size=split.train_size,
        seed=split.seed,
        duplicates=data.duplicates,
        train_subset=n_and_seed(data.train_subset),
        evaluation_subset=n_and_seed(data.evaluation_subset),
        skipped=skipped,
    )
    return replace(prepared, classes=tuple(classes))


def columns_of(recipe: Recipe) -> LabelColumns:
    """The columns that the recipe's task names."""
    task = recipe.label_task
    return LabelColumns(task.text, task.text_pair, task.label, task.kind, task.separator)


def _examples(
    recipe: Recipe,
    place: str,
    sources: Sequence[Source],
    skipped: Counter[str],
    classes: dict[str, None],
) -> Iterator[LabelledExample]:
    for index, source in enumerate(sources):
        yield from read_labelled(
            source.path,
            columns_of(recipe),
            config=source.config,
            revision=source.revision,
            split=source.split,
            streaming=source.streaming,
            encoding=source.encoding,
            bad_entries=recipe.data.bad_entries,
            weight=source.weight,
            skipped=skipped,
            classes=classes,
            options=recipe_options(f"{place}[{index}]"),
        )
