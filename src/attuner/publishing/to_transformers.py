"""A model folder for transformers in another number format, an adapter merged or apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError
from attuner.models.families import family_of
from attuner.models.loading import ADAPTER_CONFIG, complete_folder, load_seq2seq, save_model
from attuner.models.usage import FILE as USAGE
from attuner.models.usage import Usage, load_codec_between, read_usage, set_languages
from attuner.publishing.origin import Origin, copy_around

if TYPE_CHECKING:
    from torch import nn

    from attuner.inference.classifier import Classifier
    from attuner.inference.translator import Translator

NUMBER_FORMATS = ("float32", "float16", "bfloat16")
_ADAPTER_WEIGHTS, _ADAPTER_BASE = "adapter_model.safetensors", "base_model.json"


def require(origin: Origin, number_format: str) -> None:
    """Refuse a number format that the family cannot compute in.

    Raises:
        ModelError: It overflows in fp16.
    """
    family = family_of(origin.family)
    if number_format == "float16" and not family.takes_fp16:
        raise ModelError(
            f"{origin.name}: {family.title} overflows in float16.",
            "Its activations grow beyond 65,504, the largest number of that format.",
            "Export it in bfloat16, which is as small: --dtype bfloat16",
        )


def write(origin: Origin, folder: Path, number_format: str) -> None:
    """Write the model folder; an adapter is merged into its base.

    Raises:
        ModelError: The model cannot be loaded, or a weight is too large for the number format.
    """
    if origin.labels is not None:
        from attuner.models.classifier_tokens import ClassifierTokens
        from attuner.models.classifiers import load_classifier, save_classifier

        model = load_classifier(origin.folder).model
        _cast(origin, model, number_format)
        save_classifier(model, ClassifierTokens(origin.folder), origin.folder, folder)
    else:
        model = load_seq2seq(origin.folder)
        if origin.is_adapter:  # whose languages may be others than its base's
            set_languages(model, load_codec_between(origin.whole, tuned=origin.folder))
        _cast(origin, model, number_format)
        save_model(model, origin.folder if _has_tokenizer(origin) else origin.whole, folder)
    copy_around(origin, folder)


def write_adapter(origin: Origin, folder: Path, number_format: str) -> None:
    """Write an adapter alone: it is used with the base that it was trained on."""
    import torch
    from safetensors.torch import load_file, save_file

    dtype = getattr(torch, number_format)
    weights = load_file(origin.folder / _ADAPTER_WEIGHTS)
    save_file(
        {name: value.to(dtype) if value.is_floating_point() else value
         for name, value in weights.items()},
        folder / _ADAPTER_WEIGHTS,
    )  # fmt: skip
    for name in (ADAPTER_CONFIG, _ADAPTER_BASE, USAGE):
        if (origin.folder / name).is_file():
            shutil.copyfile(origin.folder / name, folder / name)
    complete_folder(origin.folder, folder)


def load_texts(origin: Origin, folder: Path, number_format: str) -> Translator:
    """The export as transformers computes it in its own number format."""
    import torch

    from attuner.inference.settings import read_settings
    from attuner.inference.transformers_engine import TransformersEngine
    from attuner.inference.translator import Translator

    usage = read_usage(folder) or Usage()
    settings = read_settings(origin.whole)
    codec = load_codec_between(origin.whole, tuned=folder)
    model: Any = load_seq2seq(folder).to(getattr(torch, number_format))
    return Translator(
        TransformersEngine(model, codec, settings=settings),
        settings=settings,
        whole_texts=usage.whole_texts,
        max_source_tokens=usage.max_source_tokens,
    )


def load_labels(origin: Origin, folder: Path, number_format: str) -> Classifier:
    """The same of a classifier."""
    import torch

    from attuner.inference.classifier import Classifier, TransformersLabels, limits_of
    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.models.classifiers import load_classifier, set_pad_token, threshold_of

    assert origin.labels is not None
    tokens = ClassifierTokens(folder)
    model: Any = load_classifier(folder).model
    set_pad_token(model, tokens)
    return Classifier(
        TransformersLabels(
            model.to(getattr(torch, number_format)),
            origin.labels.kind,
            pads_left=tokens.pads_left,
        ),
        tokens,
        origin.labels,
        threshold=threshold_of(folder),
        max_tokens=min(limits_of(folder, tokens, model.config), default=512),
    )


def _has_tokenizer(origin: Origin) -> bool:
    """Whether an adapter has a tokenizer of its own, which may be set to other languages."""
    return (origin.folder / "tokenizer_config.json").is_file()


def _cast(origin: Origin, model: nn.Module, number_format: str) -> None:
    """Round the weights to the number format.

    Raises:
        ModelError: One is too large for it.
    """
    import torch

    model.to(getattr(torch, number_format))
    for name, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{origin.name}: {name} has numbers that {number_format} cannot hold.",
                "The largest number of float16 is 65,504.",
                "Export it in bfloat16, which is as small: --dtype bfloat16",
            )
