"""From the recipe's sources to prepared examples: where `recipe` meets the data room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from attuner.data.asked import recipe_options
from attuner.data.preparation import Prepared, prepare
from attuner.data.reading import find_files, read_units
from attuner.data.units import Unit
from attuner.options.data import Source, Subset
from attuner.options.task import TextToTextTask
from attuner.recipe import Recipe

Progress = Callable[[int, int], None]
Entry = TypeVar("Entry")

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
    columns: dict[tuple[str, str], None] = {}
    data, split = recipe.data, recipe.data.split
    parts = {
        place: _units(recipe, place, sources, skipped, columns)
        for place, sources in sources_by_place(recipe).items()
    }
    train = parts["data.train"]
    prepared = prepare(
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
        mix=parts.get("data.mix.sources"),
        mix_share=data.mix.share if data.mix else 0.0,
        temperature=data.temperature,
        whole_texts=recipe.text_task.whole_texts,
        skipped=skipped,
    )
    return replace(prepared, notes=(*_column_notes(columns), *prepared.notes))


def sources_by_place(recipe: Recipe) -> dict[str, Sequence[Source]]:
    """All sources, by where the recipe names them."""
    data = recipe.data
    found = {
        "data.train": data.train,
        "data.validation": data.validation,
        "data.test": data.test,
        "data.mix.sources": data.mix.sources if data.mix else None,
    }
    return {place: sources for place, sources in found.items() if sources is not None}


def _column_notes(columns: Iterable[tuple[str, str]]) -> list[str]:
    """Which columns of which tables were taken, a line for each pair of columns.

    >>> _column_notes([("a.csv", "en → fr"), ("b.csv", "en → fr"), ("c.csv", "english → french")])
    ['Columns   en → fr in a.csv and 1 more', 'Columns   english → french in c.csv']
    """
    files: dict[str, list[str]] = {}
    for file, pair in columns:
        files.setdefault(pair, []).append(file)
    return [
        f"Columns   {pair} in {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")
        for pair, names in files.items()
    ]


def _units(
    recipe: Recipe,
    place: str,
    sources: Sequence[Source],
    skipped: Counter[str],
    columns_found: dict[tuple[str, str], None],
) -> Iterator[Unit]:
    """The units of all sources, one after the other; of each, one target language after the other.

    Where the task has no languages, those of files are not looked at, and units have none but that
    of the output: a codec is not told of any.
    """
    task = recipe.text_task
    for index, source in enumerate(sources):
        own = source.target_language
        for target in task.targets if own is None else (own,):
            found: dict[str, str] = {}
            units = _read(recipe, source, f"{place}[{index}]", target, skipped, found)
            if isinstance(task, TextToTextTask):
                language = target or task.language
                units = (
                    replace(unit, source_language="", target_language=language) for unit in units
                )
            yield from units
            columns_found |= dict.fromkeys(found.items())


def _read(
    recipe: Recipe,
    source: Source,
    place: str,
    target: str,
    skipped: Counter[str],
    columns_found: dict[str, str],
) -> Iterator[Unit]:
    """The units of a source in one target language."""
    task = recipe.text_task
    has_several = len(task.targets) > 1
    return read_units(
        source.path,
        source_language=source.source_language or task.source,
        target_language=target,
        target_path=source.target_path,
        config=source.config,
        revision=source.revision,
        split=source.split,
        streaming=source.streaming,
        columns={str(side): name for side, name in source.columns.items()},
        references=source.references,
        encoding=source.encoding,
        weight=source.weight,
        bad_entries=recipe.data.bad_entries,
        skipped=skipped,
        options=recipe_options(
            place,
            source_of="task" if task.source else "data",
            target_of="task" if task.targets[0] and not has_several else "data",
        ),
        columns_found=columns_found,
        one_of_targets=task.targets if has_several and source.target_language is None else (),
    )


def watched(entries: Iterator[Entry], progress: Progress) -> Iterator[Entry]:
    """The entries; `progress` is told their number now and then, and at the end."""
    number = 0
    for number, entry in enumerate(entries, start=1):
        if number % _STEP == 0:
            progress(number, 0)
        yield entry
    progress(number, 0)


def n_and_seed(subset: Subset | None) -> tuple[int, int] | None:
    """A subset as the data room takes it."""
    return None if subset is None else (subset.n, subset.seed)


def data_files(recipe: Recipe) -> list[Path]:
    """All local files that the recipe's sources stand for, each once."""
    found: dict[Path, None] = {}
    for source in all_sources(recipe):
        for path in (source.path, source.target_path):
            if path is not None:
                found |= dict.fromkeys(find_files(path))
    return list(found)


def all_sources(recipe: Recipe) -> list[Source]:
    """The sources of all parts, and those that are mixed in."""
    return [source for sources in sources_by_place(recipe).values() for source in sources]


def hub_data(recipe: Recipe) -> list[dict[str, str | None]]:
    """Which data sets of the Hub the recipe's sources name."""
    return [
        {
            "id": source.path.removeprefix("hub:"),
            "config": source.config,
            "revision": source.revision,
            "split": source.split,
        }
        for source in all_sources(recipe)
        if source.path.startswith("hub:")
    ]
