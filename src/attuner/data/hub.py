"""Read data sets of the Hugging Face Hub through `datasets`; no code of theirs is run.

Private ones need a token, that of `hf auth login` or HF_TOKEN. Without a network `datasets` takes
what it fetched last, whatever revision is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Any

from attuner.data.asked import Asked
from attuner.data.columns import table_units
from attuner.data.languages import find_language
from attuner.data.records import Record, Table
from attuner.data.tables import numbered
from attuner.data.units import Unit
from attuner.errors import DataError, first_line

_BATCH_ROWS = 1000
_KDE4 = ("kde4", "Helsinki-NLP/kde4")
# The pairs that the Hub has as Parquet; the others needed a loading script.
_KDE4_PAIRS = ("en-fr", "en-it", "fi-nl", "it-ro", "nl-sv")


def read_hub(
    name: str, asked: Asked, *, config: str | None, revision: str | None, split: str
) -> Iterator[Unit]:
    """Read a split of a data set on the Hub, memory-mapped.

    Args:
        name: Its id, as `Helsinki-NLP/kde4`.
        asked: Languages and columns.
        config: Its configuration; that of `kde4` is found by the languages.
        revision: Branch, tag or commit.
        split: Its split.

    Raises:
        DataError: The data set, configuration, split or columns are not there, or the Hub
            cannot be reached.
    """
    if name in _KDE4:
        name, config = _KDE4[1], _kde4_config(config, asked)
    table = open_hub(name, asked, config=config, revision=revision, split=split)
    yield from table_units(table, asked)


def open_hub(
    name: str, asked: Asked, *, config: str | None, revision: str | None, split: str
) -> Table:
    """Open a split of a data set on the Hub, memory-mapped; arguments as in `read_hub`.

    Raises:
        DataError: The data set, configuration or split is not there, or the Hub cannot be reached.
    """
    dataset = _load(name, config, revision, split, asked)
    names: list[str] = dataset.column_names

    def rows(needed: Collection[str]) -> Iterator[Record]:
        table = dataset.select_columns(sorted(set(needed) & set(names))).with_format("arrow")
        batches = table.iter(batch_size=_BATCH_ROWS)
        return numbered(row for batch in batches for row in batch.to_pylist())

    where = f"hub:{name}/{config or 'default'}/{split}"
    return Table(where, names, rows, _languages(dataset), _classes(dataset))


def _load(name: str, config: str | None, revision: str | None, split: str, asked: Asked) -> Any:
    if os.path.exists(name):  # load_dataset would silently take it for the data set
        raise DataError(
            f"hub:{name}: there is a folder or file of that name here.",
            "After hub: stands the id of a data set on the Hub.",
            f"For the folder, give {name} without hub:. For the Hub, run in another folder.",
        )
    import datasets
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    # DatasetNotFoundError is an OSError too, so the order of the clauses matters. HTTPError is
    # that of whichever HTTP library this huggingface_hub was built on; OfflineModeIsEnabled is a
    # ConnectionError.
    try:
        validate_repo_id(name)
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except (datasets.exceptions.DatasetNotFoundError, HFValidationError) as error:
        raise DataError(
            f"hub:{name}: {first_line(error)}",
            "A data set on the Hub has an id such as Helsinki-NLP/kde4.",
            "Check its name; for a private one, log in with: hf auth login",
        ) from error
    except (ConnectionError, HTTPError) as error:
        raise DataError(
            f"hub:{name}: the Hugging Face Hub cannot be reached: {first_line(error)}",
            "A data set of the Hub is fetched on first use and kept in a cache.",
            "Check the network and HF_HUB_OFFLINE, or give a folder with the files instead.",
        ) from error
    except (datasets.exceptions.DatasetsError, ValueError, RuntimeError, OSError) as error:
        # Unknown configurations and splits are plain ValueErrors that list the known ones; a data
        # set that is a script, a RuntimeError.
        raise DataError(
            f"hub:{name}: {first_line(error)}",
            "The configuration, revision and split must exist, in data files, without a script.",
            f"Set {asked.typed('config', 'NAME')}, {asked.typed('revision', 'NAME')} or "
            f"{asked.typed('split', 'NAME')}.",
        ) from error


def _kde4_config(config: str | None, asked: Asked) -> str:
    pair = sorted((asked.source_language, asked.target_language))
    for known in _KDE4_PAIRS:
        codes = known.split("-")
        if all(find_language(codes, language) for language in pair) and config in (None, known):
            return known
    wanted = config or "-".join(pair)
    archive = f"{'-'.join(sorted(wanted.split('-')))}.txt.zip"
    raise DataError(
        f"hub:Helsinki-NLP/kde4: the Hub has no pair {wanted}, it has: {', '.join(_KDE4_PAIRS)}.",
        f"The other pairs are on the OPUS site, as KDE4 Moses zip: {archive}",
        f"Download that file, and pass it as data: path/to/{archive}",
    )


def _languages(dataset: Any) -> list[str] | None:
    """Languages of the column `translation`, a struct or the feature `Translation`."""
    feature = dataset.features.get("translation")
    if feature is None:
        return None
    languages = getattr(feature, "languages", None)
    if languages is not None:
        return list(languages)
    return list(feature) if isinstance(feature, dict) else None


def _classes(dataset: Any) -> dict[str, list[str]]:
    """Names of the classes of each column of the feature `ClassLabel`, or of lists of such."""
    columns = {name: getattr(it, "feature", it) for name, it in dataset.features.items()}
    return {name: list(it.names) for name, it in columns.items() if hasattr(it, "names")}
