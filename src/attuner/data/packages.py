"""Find the catalogs inside an installed Python package without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from attuner.errors import DataError


def package_catalogs(name: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The catalogs of a package, sorted by path.

    Of a catalog that is there as PO and as MO, only the PO file: it holds more, and the same.

    Args:
        name: Name of the distribution (`jupyterlab-language-pack-fr-FR`) or of the package as
            one imports it (`jupyterlab_language_pack_fr_FR`).
        suffixes: Suffixes of catalogs.

    Raises:
        DataError: It is not installed, or has no catalogs.
    """
    found = package_files(name)
    if not found:
        raise DataError(
            f"package:{name}: no such package is installed.",
            "Give the name that pip knows, or the one that is imported.",
            f"Install it with: pip install {name}",
        )
    catalogs = {file for file in found if file.suffix.lower() in suffixes and file.is_file()}
    # TypeScript files end in .ts too, and packages with web pages are full of them.
    catalogs = {file for file in catalogs if file.suffix != ".ts" or _is_qt(file)}
    compiled = {file for file in catalogs if file.suffix == ".mo"}
    catalogs -= {file for file in compiled if file.with_suffix(".po") in catalogs}
    if not catalogs:
        raise DataError(
            f"package:{name}: no catalogs in it.", f"Catalogs end in: {', '.join(suffixes)}."
        )
    return sorted(catalogs)


def package_files(name: str) -> list[Path]:
    """The files of an installed package, by the name that pip knows or the one that is imported."""
    return _of_distribution(name) or _of_import_name(name)


def _of_distribution(name: str) -> list[Path]:
    try:
        distribution = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return []
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    # An editable installation lists only a pointer to where the package is.
    if any(file.suffix == ".pth" for file in files) or not files:
        files += _of_import_name(name.replace("-", "_"))
    return files


def _of_import_name(name: str) -> list[Path]:
    if "." in name:  # finding a sub-package would import its parent
        return []
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    folders = (spec.submodule_search_locations or ()) if spec else ()
    files = [file for folder in folders for file in Path(folder).rglob("*")]
    return files or ([Path(spec.origin)] if spec and spec.origin else [])


def _is_qt(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"<TS" in opened.read(1024)
