"""What a tokenizer's ids depend on, and which weights a folder holds, in a few letters."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.models.loading import ADAPTER_CONFIG, TOKENIZER_FILES

if TYPE_CHECKING:
    from attuner.models.codec import TextCodec

# All that a tokenizer reads; config.json, too, for it says which tokenizer it is.
_KEYED = ("*.json", "*.spm", "*.model", "*.txt")
# Beside weights and tokenizer, what decides what a model says.
_DECISIVE = (
    "*.safetensors.index.json", "config.json", "generation_config.json", "attuner.json",
    "adapter_config.json", "base_model.json",
)  # fmt: skip
# Where the base of an adapter lies.
_PLACE = ("base_model_name_or_path", "revision")
# They change with each export.
_OF_NO_TOKENIZER = ("card.json", "export.json")
_LIBRARIES = ("sentencepiece", "tokenizers", "transformers")


def tokenizer_fingerprint(folder: Path) -> str:
    """Hash of a tokenizer's files and of the libraries that read them."""
    digest = hashlib.blake2b(digest_size=16)
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}\0".encode())
    found = {path for pattern in _KEYED for path in folder.glob(pattern)}
    for path in sorted(path for path in found if path.name not in _OF_NO_TOKENIZER):
        content = hashlib.blake2b(path.read_bytes()).hexdigest()
        digest.update(f"{path.name}\0{content}\0".encode())
    return digest.hexdigest()


def weights_fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of weights in a model folder, by its name."""
    return {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def codec_fingerprint(folder: Path, codec: TextCodec) -> str:
    """The same with the languages and words that a codec of these files is set to."""
    pair = codec.pair
    return json.dumps(
        [tokenizer_fingerprint(folder), pair.source_code, pair.target_code, codec.source_prefix]
    )


def model_fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that decides what a model says, by its name.

    Those are the weights, the configurations, the tokenizer's files, what it was tuned for, and of
    an adapter which model it is for: by the fingerprint of that one's weights, wherever it lies.
    """
    patterns = ("*.safetensors", *_DECISIVE, *TOKENIZER_FILES)
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    digest = {ADAPTER_CONFIG: _sha256_but_for_place}
    return {path.name: digest.get(path.name, file_sha256)(path) for path in sorted(paths)}


def _sha256_but_for_place(adapter_config: Path) -> str:
    """SHA-256 of an adapter's settings, without where its base lies: that may move."""
    try:
        settings = json.loads(adapter_config.read_bytes())
        kept = {name: value for name, value in settings.items() if name not in _PLACE}
    except (ValueError, AttributeError):  # it is broken, which is its fingerprint then
        return file_sha256(adapter_config)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
