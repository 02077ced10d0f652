"""`load_dataset` as chapters call it: `kde4` by its two languages, everything else as today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attuner.compat.spellings import logger
from attuner.errors import DataError

_KDE4 = ("kde4", "Helsinki-NLP/kde4")


def load_dataset(path: str, name: str | None = None, **options: Any) -> Any:
    """A data set.

    With `lang1` and `lang2` it is one of translations: columns `id` and `translation`, of which
    each is `{lang1: text, lang2: text}`, and one split, `train`. It is read from the folder or
    file that `path`, `data_dir` or `data_files` names, in any format that Attuner reads, or from
    the Hub where `path` is `kde4`.

    Args:
        path: A folder, a file, or a Hub id.
        name: Configuration of a Hub data set.
        **options: `lang1`, `lang2`, and what `datasets.load_dataset` takes.

    Raises:
        DataError: The folder or the Hub holds no such translations.
    """
    if options.pop("trust_remote_code", None):
        logger.warning("trust_remote_code: no effect, data sets have no code any more.")
    if "use_auth_token" in options:
        logger.warning("use_auth_token is called token today.")
        options["token"] = options.pop("use_auth_token")
    source, target = options.pop("lang1", None), options.pop("lang2", None)
    if source and target:
        return _translations(path, name, source, target, options)
    import datasets

    return datasets.load_dataset(path, name, **options)


def _translations(
    path: str, name: str | None, source: str, target: str, options: dict[str, Any]
) -> Any:
    import datasets

    from attuner.data.reading import read_units

    where = str(options.pop("data_files", None) or options.pop("data_dir", None) or path)
    if where in _KDE4 and not Path(where).exists():
        where = f"hub:{_KDE4[1]}"
    split = options.pop("split", None)
    if split not in (None, "train"):
        raise DataError(
            f'load_dataset("{path}") was asked for the split {split}.',
            "Translations in files are one split, train.",
            "Take split='train', and call train_test_split on it.",
        )
    if options:
        logger.warning("%s: no effect on translations that are read so.", ", ".join(options))
    units = read_units(where, source_language=source, target_language=target, config=name)
    rows: list[dict[str, Any]] = []
    num_left_out = 0
    for unit in units:
        if unit.state != "translated":
            num_left_out += 1
            continue
        pair = {source: unit.source, target: unit.targets[0]}
        rows.append({"id": str(len(rows)), "translation": pair})
    if not rows:
        raise DataError(
            f"{where} holds no translated text from {source} to {target}.",
            "Expected entries with both sides.",
            f'Try: attuner check --task translation --data "{where}" '
            f"--source {source} --target {target}",
        )
    if num_left_out:
        logger.warning(
            "%s: %s of %s entries are left out: not translated, or to be reviewed.",
            where, f"{num_left_out:,}", f"{num_left_out + len(rows):,}",
        )  # fmt: skip
    features = datasets.Features(
        {"id": datasets.Value("string"), "translation": datasets.Translation([source, target])}
    )
    read = datasets.Dataset.from_list(rows, features=features)
    return read if split else datasets.DatasetDict({"train": read})
