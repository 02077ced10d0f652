"""From the recipe's sources to prepared examples: where `recipe` meets the data room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attuner.data.asked import recipe_options
from attuner.data.preparation import Prepared, prepare
from attuner.data.reading import find_files, read_units
from attuner.data.units import Unit
from attuner.recipe import Recipe, Source, Subset

Progress = Callable[[int, int], None]

# Units between two reports of progress.
_STEP = 1000


def prepare_data(recipe: Recipe, *, progress: Progress | None = None) -> Prepared:
    """Read, filter and divide the examples of a recipe.

    Args:
        recipe: Its `task` and `data` sections are used.
        progress: Called with the number of entries read so far, and 0: how many there will be
            is not known.

    Raises:
        DataError: A source cannot be read, or too little is left of it.
    """
    skipped: Counter[str] = Counter()
    columns: dict[str, str] = {}
    data, split = recipe.data, recipe.data.split
    parts = {
        part: None if sources is None else _units(recipe, part, sources, skipped, columns)
        for part, sources in (
            ("train", data.train),
            ("validation", data.validation),
            ("test", data.test),
        )
    }
    train = parts["train"]
    assert train is not None
    prepared = prepare(
        _watched(train, progress) if progress else train,
        parts["validation"],
        parts["test"],
        by=split.by,
        validation_size=split.validation,
        test_size=split.test,
        train_size=split.train_size,
        seed=split.seed,
        duplicates=data.duplicates,
        train_subset=_n_and_seed(data.train_subset),
        evaluation_subset=_n_and_seed(data.evaluation_subset),
        skipped=skipped,
    )
    return replace(prepared, notes=(*_column_notes(columns), *prepared.notes))


def _column_notes(columns: dict[str, str]) -> list[str]:
    """Which columns of which tables were taken, a line for each pair of columns.

    >>> _column_notes({"a.csv": "en → fr", "b.csv": "en → fr", "c.csv": "english → french"})
    ['Columns   en → fr in a.csv and 1 more', 'Columns   english → french in c.csv']
    """
    files: dict[str, list[str]] = {}
    for file, pair in columns.items():
        files.setdefault(pair, []).append(file)
    return [
        f"Columns   {pair} in {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")
        for pair, names in files.items()
    ]


def _units(
    recipe: Recipe,
    part: str,
    sources: Sequence[Source],
    skipped: Counter[str],
    columns_found: dict[str, str],
) -> Iterator[Unit]:
    """The units of all sources, one after the other."""
    for index, source in enumerate(sources):
        yield from read_units(
            source.path,
            source_language=source.source_language or recipe.task.source,
            target_language=source.target_language or recipe.task.target,
            target_path=source.target_path,
            config=source.config,
            revision=source.revision,
            split=source.split,
            columns={str(side): name for side, name in source.columns.items()},
            encoding=source.encoding,
            weight=source.weight,
            bad_entries=recipe.data.bad_entries,
            skipped=skipped,
            options=recipe_options(f"data.{part}[{index}]"),
            columns_found=columns_found,
        )


def _watched(units: Iterator[Unit], progress: Progress) -> Iterator[Unit]:
    number = 0
    for number, unit in enumerate(units, start=1):
        if number % _STEP == 0:
            progress(number, 0)
        yield unit
    progress(number, 0)


def _n_and_seed(subset: Subset | None) -> tuple[int, int] | None:
    return None if subset is None else (subset.n, subset.seed)


def data_files(recipe: Recipe) -> list[Path]:
    """All local files that the recipe's sources stand for, each once."""
    data = recipe.data
    sources = [*data.train, *(data.validation or ()), *(data.test or ())]
    found: dict[Path, None] = {}
    for source in sources:
        for path in (source.path, source.target_path):
            if path is not None:
                found |= dict.fromkeys(find_files(path))
    return list(found)


def hub_data(recipe: Recipe) -> list[dict[str, str | None]]:
    """Which data sets of the Hub the recipe's sources name."""
    data = recipe.data
    return [
        {
            "id": source.path.removeprefix("hub:"),
            "config": source.config,
            "revision": source.revision,
            "split": source.split,
        }
        for source in (*data.train, *(data.validation or ()), *(data.test or ()))
        if source.path.startswith("hub:")
    ]
