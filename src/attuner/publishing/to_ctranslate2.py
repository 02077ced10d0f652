"""A model that writes text as a folder for CTranslate2, with all that Attuner needs to use it."""

from __future__ import annotations

import json
from pathlib import Path

from attuner.errors import ModelError
from attuner.inference.conversion import CONVERTIBLE, ConversionError, convert
from attuner.inference.settings import GenerationSettings
from attuner.models.json_files import read_json_object
from attuner.models.usage import load_codec_between
from attuner.publishing.origin import Origin, copy_around

NUMBER_FORMATS = ("float32", "int8", "int8_float32")
_OTHERWISE = (
    "Use its model folder as it is, or a smaller one: attuner export {} --to transformers "
    "--dtype bfloat16"
)


def require(origin: Origin, number_format: str) -> None:
    """Refuse what CTranslate2 does not support, before anything is loaded.

    Raises:
        ModelError: It is a classifier, or of another family.
    """
    if origin.labels is not None:
        raise ModelError(
            f"{origin.name} gives labels: it is not exported for CTranslate2.",
            "CTranslate2 runs models that write text.",
            f"Export it for onnxruntime: attuner export {origin.name} --to onnx",
        )
    if origin.family not in CONVERTIBLE:
        raise ModelError(
            f"CTranslate2 does not support models of type {origin.family}.",
            f"Supported: {', '.join(sorted(CONVERTIBLE))}.",
            _OTHERWISE.format(origin.name),
        )


def write(origin: Origin, folder: Path, number_format: str) -> None:
    """Write the folder: CTranslate2's files, the tokenizer, the settings.

    Both libraries call their settings config.json. CTranslate2 passes over what it does not know,
    so that the few of transformers that are needed stand in the same file.

    Raises:
        ModelError: The model cannot be loaded or converted.
    """
    codec = load_codec_between(origin.whole, tuned=origin.folder)
    try:
        convert(origin.folder, folder, codec, quantization=number_format)
    except ConversionError as error:
        remedy = _OTHERWISE.format(origin.name)
        raise ConversionError(error.happened, error.expected, remedy) from error
    settings = read_json_object(origin.whole / "config.json")
    kept = ("model_type", *GenerationSettings.__dataclass_fields__)
    config = {
        **{name: settings[name] for name in kept if name in settings},
        **read_json_object(folder / "config.json"),
    }
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")
    copy_around(origin, folder)
