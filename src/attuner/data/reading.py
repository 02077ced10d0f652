"""The entrance of the data room: from a path, a package or a Hub id to units."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from attuner.data.asked import Asked, Faults, recipe_options
from attuner.data.columns import units_reader
from attuner.data.delimited import open_csv, open_tsv
from attuner.data.hub import read_hub
from attuner.data.languages import find_language, is_code, matching
from attuner.data.mo_catalogs import read_mo
from attuner.data.packages import package_catalogs
from attuner.data.parallel import read_moses_zip, read_parallel
from attuner.data.po_catalogs import read_po
from attuner.data.records import OpenTable
from attuner.data.tables import open_json, open_jsonl, open_parquet
from attuner.data.units import Unit
from attuner.data.xml_catalogs import read_tmx, read_ts, read_xliff
from attuner.errors import DataError, nearest

Reader = Callable[[Path, Asked], Iterator[Unit]]

CATALOGS: dict[str, Reader] = {
    ".po": read_po,
    ".mo": read_mo,
    ".xlf": read_xliff,
    ".xliff": read_xliff,
    ".tmx": read_tmx,
    ".ts": read_ts,
}
OPENERS: dict[str, OpenTable] = {
    ".csv": open_csv,
    ".tsv": open_tsv,
    ".json": open_json,
    ".jsonl": open_jsonl,
    ".parquet": open_parquet,
}
TABLES: dict[str, Reader] = {
    **{suffix: units_reader(opener) for suffix, opener in OPENERS.items()},
    ".zip": read_moses_zip,
}
READERS: dict[str, Reader] = {**CATALOGS, **TABLES}
# Data that come with Attuner; see the notice beside them.
EMBEDDED = {"embedded:reviews": "demo/reviews.jsonl.gz"}
_NEVER_GZIPPED = (".mo", ".parquet", ".zip")
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}")


def read_units(
    path: str,
    *,
    source_language: str,
    target_language: str,
    target_path: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    streaming: bool = False,
    columns: Mapping[str, str] = {},
    references: Sequence[str] = (),
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    weight: float = 1.0,
    skipped: Counter[str] | None = None,
    options: Mapping[str, str] | None = None,
    columns_found: dict[str, str] | None = None,
    one_of_targets: tuple[str, ...] = (),
) -> Iterator[Unit]:
    """Read all entries of a source, also untranslated, fuzzy and obsolete ones.

    Args:
        path: A file, folder, glob, `package:NAME` or `hub:ID`.
        source_language: Language code of the source side; "" where texts have no languages.
        target_language: Language code of the target side; "" likewise.
        target_path: With a text file in `path`: the file with its translations, line by line.
        config: Configuration of a Hub data set; of a folder, its sub-folder.
        revision: Branch, tag or commit of a Hub data set.
        split: Split of a Hub data set, also where a folder holds its numbered files.
        streaming: Whether a Hub data set is read as it comes, and no copy of it kept.
        columns: Names of the columns of a table, by side (`source`, `target`).
        references: Further columns of a table with target texts.
        encoding: Encoding of text files that do not declare their own.
        bad_entries: `fail` raises them, collected, at the end; `skip` counts them.
        weight: Weight of every unit.
        skipped: Where entries that a reader must leave out are counted, by reason.
        options: How the options that messages advise are typed; those of the recipe's first
            training source where not given. See `recipe_options`.
        columns_found: Where the columns that were taken are noted, by file, as `en → fr`.
        one_of_targets: All target languages of the task, where the files are to say which of
            their texts are in `target_language`; empty where all are.

    Yields:
        Units, in the order of the files (sorted by path) and of their entries.

    Raises:
        DataError: Something is missing, broken, or not what was asked for.
        MissingExtraError: The format needs translate-toolkit, which is not installed.
    """
    options = recipe_options() if options is None else options
    skip = options["bad_entries"].format("skip")
    faults = Faults(bad_entries, Counter() if skipped is None else skipped, skip)
    found = {} if columns_found is None else columns_found
    asked = Asked(
        source_language, target_language, columns, encoding, weight, faults, options, found,
        one_of_targets, tuple(references),
    )  # fmt: skip
    if path.startswith("hub:"):
        name = path.removeprefix("hub:")
        yield from read_hub(
            name, asked, config=config, revision=revision, split=split, streaming=streaming
        )
    elif target_path is not None:
        asked.require_one_target(path)
        yield from read_parallel(_one_file(path), _one_file(target_path), asked)
    else:
        for file in chosen_files(path, asked, config=config, split=split):
            yield from _reader(file, asked)(file, asked)
    faults.raise_collected()


def chosen_files(path: str, asked: Asked, *, config: str | None, split: str) -> list[Path]:
    """The local files to read: of several configurations, splits or languages, those asked for.

    Raises:
        DataError: There is no such file, configuration, split or language.
    """
    files = find_files(path)
    if os.path.isdir(path):
        return _of_split(path, _of_config(path, files, config, asked), split, asked)
    return _of_language(path, files, asked) if path.startswith("package:") else files


def find_files(path: str) -> list[Path]:
    """The local files that a path stands for, sorted; none for the Hub.

    Of a folder or package with several configurations, splits or languages, all files:
    `read_units` chooses among them.

    Raises:
        DataError: There is no such file, folder or package, nothing readable in it, or a name
            that a recipe could not hold.
    """
    found = _found(path)
    for file in found:
        try:
            str(file).encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"{file}: the name of the file is not UTF-8.",
                "A run writes down which files it was trained on, as text.",
                "Rename it.",
            ) from error
    return found


def _found(path: str) -> list[Path]:
    if path.startswith("hub:"):
        return []
    if path.startswith("package:"):
        return package_catalogs(path.removeprefix("package:"), tuple(CATALOGS))
    if path.startswith("embedded:"):
        if path not in EMBEDDED:
            raise DataError(f'There are no embedded data "{path}".', nearest(path, EMBEDDED))
        return [Path(str(files("attuner"))) / EMBEDDED[path]]
    place = Path(path)
    if os.path.isdir(path):  # unlike Path.is_dir, never raises
        found = sorted(
            file
            for file in place.rglob("*")
            if suffix_of(file) in READERS
            and not _is_hidden(file.relative_to(place))
            and file.is_file()
        )
        if not found:
            raise DataError(
                f"{path}: no file of a known format in this folder.", f"Known: {_known()}."
            )
        return found
    if not os.path.exists(path) and glob.has_magic(path) and "\0" not in path:
        matching = sorted(Path(name) for name in glob.glob(path, recursive=True))
        matching = [file for file in matching if file.is_file()]
        if not matching:
            raise DataError(
                f"{path}: no file matches.",
                "In a pattern, * stands for any part of a name and ** for any folders.",
                "Quote the pattern, so that the shell leaves it alone.",
            )
        return matching
    return [_one_file(path)]


def is_data_name(name: str) -> bool:
    """Whether a name ends as a file that can be read, packed or not; it need not exist.

    >>> is_data_name("a.po"), is_data_name("a.CSV.gz"), is_data_name("v1.2"), is_data_name("a.yaml")
    (True, True, False, False)
    """
    suffix = suffix_of(Path(name))
    return suffix == ".txt" or suffix in READERS


def _one_file(path: str) -> Path:
    file = Path(path)
    if os.path.isfile(path):
        return file
    folder = file.parent
    names = os.listdir(folder) if os.path.isdir(folder) else []
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.6)
    raise DataError(
        f"{path}: no such file.",
        "" if os.path.isdir(folder) else f"There is no folder {folder} either.",
        f'Did you mean "{folder / close[0]}"?' if close else "",
    )


def _reader(file: Path, asked: Asked) -> Reader:
    suffix = suffix_of(file)
    if suffix in READERS:
        if suffix in CATALOGS and suffix != ".tmx":  # in one language
            asked.require_one_target(str(file))
        return READERS[suffix]
    if suffix == ".txt":
        raise DataError(
            f"{file}: a plain text file holds one language.",
            "Its translations are in a second file, line by line.",
            f"Name that one: {asked.typed('target_path', 'FILE')}",
        )
    raise DataError(
        f'{file}: unknown suffix "{suffix}".',
        nearest(suffix, READERS),
        "Text tables and catalogs may end in .gz as well. "
        f"For parallel text, set {asked.typed('target_path', 'FILE')}",
    )


def suffix_of(file: Path) -> str:
    """Suffix that tells the format: `.jsonl` of `a.jsonl.gz`.

    >>> suffix_of(Path("a.JSONL.gz")), suffix_of(Path("a.b.po")), suffix_of(Path("a.parquet.gz"))
    ('.jsonl', '.po', '.parquet.gz')
    """
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if suffixes[-1:] == [".gz"]:
        inner = suffixes[0] if len(suffixes) == 2 else ""
        return f"{inner}.gz" if inner in _NEVER_GZIPPED or not inner else inner
    return suffixes[-1] if suffixes else ""


def _known() -> str:
    return ", ".join(sorted(READERS))


def _is_hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _of_config(path: str, files: list[Path], config: str | None, asked: Asked) -> list[Path]:
    """Files of a configuration, where the folder is laid out as on the Hub: one sub-folder each."""
    folders = sorted({file.relative_to(path).parts[0] for file in files} - {f.name for f in files})
    if config is None:
        both = (asked.source_language, asked.target_language)
        pairs = [name for name in folders if _is_pair(name, *both)]
        if len(pairs) != 1:
            return files
        config = pairs[0]
    elif config not in folders:
        raise DataError(
            f"{path}: no configuration {config} in this folder.",
            f"A configuration is a sub-folder. {nearest(config, folders)}",
            f"Choose one of them, as {asked.typed('config', 'NAME')}, or leave it out.",
        )
    return [file for file in files if file.relative_to(path).parts[0] == config]


def _is_pair(name: str, source: str, target: str) -> bool:
    """Whether a folder is called as a language pair, either way round: `en-fr`."""
    codes = name.split("-")
    return len(codes) == 2 and bool(find_language(codes, source) and find_language(codes, target))


def _of_split(path: str, files: list[Path], split: str, asked: Asked) -> list[Path]:
    """Of the Hub's numbered files (`train-00000-of-00002.parquet`), those of one split."""
    splits = {file: found.group(1) for file in files if (found := _SHARD.match(file.name))}
    chosen = [file for file in files if splits.get(file, split) == split]
    if not chosen:
        raise DataError(
            f"{path}: no files of the split {split}.",
            nearest(split, set(splits.values())),
            f"Choose one of them, as {asked.typed('split', 'NAME')}.",
        )
    return chosen


def _of_language(path: str, files: list[Path], asked: Asked) -> list[Path]:
    """Of a package with catalogs in many languages (`de/LC_MESSAGES/x.mo`), those of one."""
    wanted = asked.target_language
    code_of = {file: _code_of(file) for file in files}
    fits = {"", *matching(code_of.values(), wanted)}
    chosen = [file for file in files if not wanted or code_of[file] in fits]
    if not chosen:
        codes = sorted({file.parent.parent.name for file in files})
        raise DataError(
            f"{path}: no catalogs in {asked.target_language}.",
            f"The package has: {', '.join(codes)}.",
            f"Choose one of them, as {asked.typed('target', 'CODE')}.",
        )
    return chosen


def _code_of(file: Path) -> str:
    """The language code that a folder gives its catalogs; "" where there is none."""
    code = file.parent.parent.name if file.parent.name == "LC_MESSAGES" else ""
    return code if is_code(code) else ""
