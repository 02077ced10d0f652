"""Converted engines, kept in the user's cache folder so that the next start is quick."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.cache_folder import cache_folder
from attuner.errors import ModelError
from attuner.inference.ctranslate2_engine import CTranslate2Engine
from attuner.inference.settings import GenerationSettings
from attuner.models.adapter_folder import base_folder
from attuner.models.codec import TextCodec

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

# Raised when `convert` changes what it writes for the same model.
_LAYOUT = 2
_KEYED = ("*.safetensors", "*.json", "*.spm", "*.model")


def cached_engine(
    folder: Path,
    codec: TextCodec,
    *,
    quantization: str = "float32",
    threads: int = 0,
    settings: GenerationSettings | None = None,
) -> CTranslate2Engine:
    """The engine of a model folder, converted at the first call and whenever the model changed.

    Raises:
        ModelError: The model cannot be loaded, or CTranslate2 does not support it.
    """

    def load(converted: Path) -> CTranslate2Engine:
        return CTranslate2Engine(
            converted, codec, quantization=quantization, threads=threads, settings=settings
        )

    entry = cache_folder() / "engines" / engine_key(folder, quantization)
    if entry.is_dir():
        try:
            return load(entry)
        except (ModelError, ValueError, KeyError) as error:
            logger.info("the cached engine %s is broken and made again: %s", entry, error)
    from attuner.inference.conversion import convert

    try:
        logger.info("converting %s for CTranslate2; the next start will be quick", folder)
        convert(folder, entry, codec, quantization=quantization)
        return load(entry)
    except OSError as error:
        logger.warning("the cache folder cannot be written, each start will convert: %s", error)
    with tempfile.TemporaryDirectory(prefix="attuner-") as temporary:
        convert(folder, Path(temporary) / "engine", codec, quantization=quantization)
        return load(Path(temporary) / "engine")


def engine_key(folder: Path, quantization: str) -> str:
    """Hash of all that a converted engine depends on: weights, settings, tokens, converter."""
    from ctranslate2 import __version__

    digest = hashlib.sha256(f"{_LAYOUT} {__version__} {quantization}".encode())
    for path in _keyed_files(folder):
        digest.update(f"\0{path.name}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _keyed_files(folder: Path) -> Iterable[Path]:
    """The files of a model folder and, of an adapter, those of the model that it is for."""
    base = base_folder(folder)
    files = sorted({path for pattern in _KEYED for path in folder.glob(pattern)})
    return files if base is None else [*files, *_keyed_files(base)]
