"""An adapter on the disk: peft's files, and what is needed to find and know the model it is for.

adapter_config.json         peft's configuration, with the base's name or path
adapter_model.safetensors   the adapter's weights
base_model.json             the base again, with the fingerprint of its weights
tokenizer_config.json, ...  the tokenizer, as in any model folder

There is no config.json: with one, transformers would look for the base's weights in this folder.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError, first_line
from attuner.models.fingerprint import weights_fingerprint
from attuner.models.json_files import read_json_object
from attuner.models.loading import ADAPTER_CONFIG, complete_folder, resolve_model

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS, _BASE = "adapter_model.safetensors", "base_model.json"
# peft stores the names that weights have inside its wrapper.
_PREFIX = "base_model.model."


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def save_adapter(
    model: nn.Module,
    tokenizer_folder: Path,
    folder: Path,
    *,
    base: str,
    base_revision: str | None,
    base_folder: Path,
) -> None:
    """Write the adapter of a model, which `models.adapters.add_adapter` put there.

    Args:
        model: The adapted model.
        tokenizer_folder: Where the tokenizer's files lie.
        folder: Where to write.
        base: Name or path of the model that the adapter is for.
        base_revision: Branch, tag or commit of a base on the Hub.
        base_folder: Where its weights lie.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    source: Any = model
    config = copy.copy(source.peft_config["default"])
    config.base_model_name_or_path, config.revision = base, base_revision
    config.task_type, config.inference_mode = "SEQ_2_SEQ_LM", True
    config.save_pretrained(folder)
    weights = get_peft_model_state_dict(source, save_embedding_layers=False)
    save_file(
        {f"{_PREFIX}{name}": w.contiguous() for name, w in weights.items()}, folder / _WEIGHTS
    )
    about = {
        "name": base,
        "revision": base_revision,
        "sha256": weights_fingerprint(base_folder),
    }
    (folder / _BASE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    complete_folder(tokenizer_folder, folder)


def base_folder(folder: Path) -> Path | None:
    """The folder of the model that an adapter is for; None where `folder` holds a whole model.

    Raises:
        ModelError: The base is missing.
    """
    if not is_adapter(folder):
        return None
    config = read_json_object(folder / ADAPTER_CONFIG)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    try:
        return resolve_model(str(name), revision=revision)
    except ModelError as error:
        raise ModelError(
            f"{folder} is an adapter of {name}, which cannot be used: {error.happened}",
            "An adapter holds no weights but its own: it needs the model that it was trained on.",
            f"Put it back, or name its place in base_model_name_or_path of "
            f"{folder / ADAPTER_CONFIG}.",
        ) from error


def require_same_base(folder: Path, base: Path) -> None:
    """Refuse a base that is not what the adapter was trained on, as far as the adapter knows.

    Raises:
        ModelError: Its weights are others.
    """
    known = read_json_object(folder / _BASE).get("sha256")
    if known is None or known == weights_fingerprint(base):
        return
    raise ModelError(
        f"{folder} is an adapter of {base}, whose weights are no longer those of then.",
        "An adapter works with the very weights that it was trained on; their SHA-256 is in "
        f"{folder / _BASE}.",
        "Put the model of then back, or tune anew.",
    )


def merge_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """The model with an adapter's change in its weights, a plain one again.

    Raises:
        ModelError: The adapter is damaged, or is one for another model.
    """
    from safetensors import SafetensorError

    from attuner.models.adapters import merge_for_good

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        _put_on(model, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: the adapter cannot be put on its base: {first_line(error)}",
            f"Expected {ADAPTER_CONFIG} and {_WEIGHTS} as peft writes them, for this model.",
            "Copy the folder again from where it was trained.",
        ) from error
    merge_for_good(model)
    for parameter in trained:  # peft froze them
        parameter.requires_grad_(True)
    return model.eval()


def _put_on(model: nn.Module, folder: Path) -> None:
    """Put the adapter's layers into the model, with the weights in the folder."""
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(folder / _WEIGHTS)
    weights = {name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()}
    inject_adapter_in_model(PeftConfig.from_pretrained(str(folder)), model)
    loaded = set_peft_model_state_dict(model, weights)
    missing = [name for name in loaded.missing_keys if ".default" in name]
    if missing or loaded.unexpected_keys:
        raise ValueError(f"{min([*missing, *loaded.unexpected_keys])} is not in both")
