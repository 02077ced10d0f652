"""Read data sets of the Hugging Face Hub through `datasets`; no code of theirs is run.

Private ones need a token, that of `hf auth login` or HF_TOKEN. Without a network `datasets` takes
what it fetched last, whatever revision is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
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
    name: str,
    asked: Asked,
    *,
    config: str | None,
    revision: str | None,
    split: str,
    streaming: bool = False,
) -> Iterator[Unit]:
    """Read a split of a data set on the Hub, memory-mapped or streamed.

    Args:
        name: Its id, as `Helsinki-NLP/kde4`.
        asked: Languages and columns.
        config: Its configuration; that of `kde4` is found by the languages.
        revision: Branch, tag or commit.
        split: Its split.
        streaming: Whether it is read as it comes, and no copy is kept.

    Raises:
        DataError: The data set, configuration, split or columns are not there, or the Hub
            cannot be reached.
    """
    if name in _KDE4:
        name, config = _KDE4[1], _kde4_config(config, asked)
    table = open_hub(
        name, asked, config=config, revision=revision, split=split, streaming=streaming
    )
    yield from table_units(table, asked)


def open_hub(
    name: str,
    asked: Asked,
    *,
    config: str | None,
    revision: str | None,
    split: str,
    streaming: bool = False,
) -> Table:
    """Open a split of a data set on the Hub; arguments as in `read_hub`.

    Raises:
        DataError: The data set, configuration or split is not there, or the Hub cannot be reached.
    """
    _refuse_local(name)
    import datasets

    options: dict[str, Any] = {"streaming": True} if streaming else {}
    with _faults(name, asked):
        dataset = datasets.load_dataset(name, config, split=split, revision=revision, **options)
        names: list[str] | None = dataset.column_names
        first: dict[str, Any] = {}
        if names is None:  # a stream without a schema
            first = next(iter(dataset), {})
            names = list(first) or None

    def rows(needed: Collection[str]) -> Iterator[Record]:
        table = dataset.select_columns(sorted(set(needed) & set(names or ())))
        batches = table.with_format("arrow").iter(batch_size=_BATCH_ROWS)
        with _faults(name, asked):  # a stream is fetched now
            yield from numbered(row for batch in batches for row in batch.to_pylist())

    where = f"hub:{name}/{config or 'default'}/{split}"
    features = dataset.features or first
    return Table(where, names, rows, _languages(features), _classes(features))


def _refuse_local(name: str) -> None:
    """Refuse a name that load_dataset would silently take for a folder or file here.

    Raises:
        DataError: There is such a one.
    """
    if os.path.exists(name):
        raise DataError(
            f"hub:{name}: there is a folder or file of that name here.",
            "After hub: stands the id of a data set on the Hub.",
            f"For the folder, give {name} without hub:. For the Hub, run in another folder.",
        )


@contextmanager
def _faults(name: str, asked: Asked) -> Iterator[None]:
    """Turn what `datasets` raises inside the block into words.

    Raises:
        DataError: The data set, configuration or split is not there, or the Hub cannot be reached.
    """
    import datasets
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    # DatasetNotFoundError is an OSError too, so the order of the clauses matters. HTTPError is
    # that of whichever HTTP library this huggingface_hub was built on; OfflineModeIsEnabled is a
    # ConnectionError.
    try:
        validate_repo_id(name)
        yield
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


def _languages(features: Mapping[str, Any]) -> list[str] | None:
    """Languages of the column `translation`: a struct, the feature `Translation`, or a first row's.

    >>> _languages({"translation": {"en": "one", "fr": "un"}}), _languages({"en": "one"})
    (['en', 'fr'], None)
    """
    feature = features.get("translation")
    languages = getattr(feature, "languages", None)
    if languages is not None:
        return list(languages)
    return list(feature) if isinstance(feature, dict) else None


def _classes(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the classes of each column of the feature `ClassLabel`, or of lists of such."""
    columns = {name: getattr(it, "feature", it) for name, it in features.items()}
    return {name: list(it.names) for name, it in columns.items() if hasattr(it, "names")}
