"""From a transformers model to a CTranslate2 folder, Marian's pad row kept.

transformers starts Marian's decoder from the embedding of the pad token. CTranslate2's own
loader takes that row for zero and drops it, together with the last entry of the vocabulary.
Plain fine-tuning moves the row, because it is tied to the output layer: then the dropped row
changes nearly every translation. Here the row stays, the decoder starts from the token as in
transformers, and its output bias is so low that it is never generated. Row numbers equal the
tokenizer's ids, whatever place the pad token has.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError
from attuner.models.codec import TextCodec, TransformersCodec

if TYPE_CHECKING:
    from torch import nn

# model_type → name of the configuration class that CTranslate2 registers its loader under. Kept
# here so that choosing an engine imports neither library.
CONVERTIBLE = {
    "bart": "BartConfig",
    "m2m_100": "M2M100Config",
    "marian": "MarianConfig",
    "mbart": "MBartConfig",
    "mt5": "MT5Config",
    "pegasus": "PegasusConfig",
    "t5": "T5Config",
    "umt5": "UMT5Config",
}
# Where layers are normalised. The published checkpoints have these in their configuration, those
# that transformers made itself do not, though CTranslate2 asks for them.
_NORMALISATION = {
    "bart": {"normalize_before": False, "normalize_embedding": True},
    "mbart": {"normalize_before": True, "normalize_embedding": True},
    "pegasus": {"normalize_before": True, "normalize_embedding": False},
}
_NEVER = -1e9
_REMEDY = (
    "Use the transformers engine: generation.engine=transformers in a recipe, "
    "--engine transformers with attuner evaluate."
)


class ConversionError(ModelError):
    """CTranslate2 cannot take this model; transformers can."""


def convert(model_folder: Path, output: Path, codec: TextCodec, *, quantization: str) -> None:
    """Convert a model folder; `output` appears whole or not at all.

    Raises:
        ModelError: The model cannot be loaded.
        ConversionError: CTranslate2 does not support it.
    """
    from attuner.models.loading import load_seq2seq

    convert_model(load_seq2seq(model_folder), output, codec, quantization=quantization)


def convert_model(
    model: nn.Module, output: Path, codec: TextCodec, *, quantization: str = "float32"
) -> None:
    """Convert a model in memory, which is left as it is; `output` appears whole or not at all.

    Args:
        model: An encoder-decoder model of transformers, unwrapped.
        output: Folder to write; replaced where it exists.
        codec: The model's tokenizer.
        quantization: `float32`, `int8` or another type that CTranslate2 knows.

    Raises:
        ConversionError: CTranslate2 does not support the model.
    """
    import torch
    from ctranslate2.converters import transformers as loaders

    from attuner.models.adapters import merged

    config_name = CONVERTIBLE.get(str(_View(model).config.model_type), "")
    if config_name == "MarianConfig":
        load = _marian_spec
    elif config_name in loaders._MODEL_LOADERS:  # not each version has all
        load = _other_spec
    else:
        raise ConversionError(
            f"CTranslate2 does not support models of type {_View(model).config.model_type}.",
            f"Supported: {', '.join(sorted(CONVERTIBLE))}.",
            _REMEDY,
        )
    try:
        with torch.no_grad(), _one_thread(), merged(model):
            spec = load(_View(model), codec)
            spec.validate()
            _own_weights(spec)
            spec.optimize(quantization=quantization)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        # Its loaders meet configurations that they do not know with any of these.
        raise ConversionError(
            f"CTranslate2 cannot convert this {_View(model).config.model_type} model: {error}.",
            "A model of the layout that its published checkpoints have.",
            _REMEDY,
        ) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        spec.save(str(partial))
        partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        shutil.rmtree(output, ignore_errors=True)
        try:
            partial.rename(output)
        except OSError:
            if not output.is_dir():  # else another process was quicker: its folder is as good
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _View:
    """A model with a configuration of its own: CTranslate2's loaders write into it."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.config: Any = copy.deepcopy(model.config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: CTranslate2 compares thousands of pairs of small tensors.

    Measured on two busy cores, 7.3 M parameters: 1.3 s with two threads, 0.13 s with one.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _own_weights(spec: Any) -> None:
    """Copy the weights: they are the model's own, and quantization works in place, on the CPU."""
    for variable in spec.variables().values():
        if hasattr(variable, "tensor"):
            variable.tensor = variable.tensor.to("cpu", copy=True)


def _marian_spec(model: _View, codec: TextCodec) -> Any:
    import torch
    from ctranslate2.converters.transformers import BartLoader

    model.config.normalize_before = False
    model.config.normalize_embedding = False
    spec = BartLoader().get_model_spec(model)
    start = int(model.config.decoder_start_token_id)
    # final_logits_bias is a buffer of zeros in most checkpoints; copied, never written to.
    bias = model.final_logits_bias.detach().to("cpu", torch.float32).flatten().clone()
    for never in {start, int(model.config.pad_token_id)} - {codec.eos_token_id}:
        bias[never] = _NEVER
    spec.decoder.projection.bias = bias
    _register_tokens(spec, codec, start)
    return spec


def _other_spec(model: _View, codec: TextCodec) -> Any:
    from ctranslate2.converters import transformers as loaders

    family = model.config.model_type
    for name, value in _NORMALISATION.get(family, {}).items():
        if not hasattr(model.config, name):
            setattr(model.config, name, value)
    if family in ("t5", "mt5"):
        # CTranslate2 takes tied embeddings for scaled outputs; transformers tells them apart.
        tied = family == "t5" and model.config.tie_word_embeddings
        model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs", tied)
    spec = loaders._MODEL_LOADERS[CONVERTIBLE[family]].get_model_spec(model)
    marks = codec.marks if isinstance(codec, TransformersCodec) else None
    start = model.config.decoder_start_token_id
    # Where the decoder starts with a language, each call says which one.
    is_free = start is None or (marks is not None and marks.starts_decoder)
    _register_tokens(spec, codec, None if is_free else int(start))
    return spec


def _register_tokens(spec: Any, codec: TextCodec, start: int | None) -> None:
    """Give the vocabulary by our ids; CTranslate2's loaders look for tokens in other places.

    Its loader of M2M100 and NLLB, for one, asks the tokenizer for `additional_special_tokens`,
    which transformers 5 no longer has, so that languages had no place.
    """
    sources = _unique(codec.source_tokens(range(spec.encoder.embeddings[0].weight.shape[0])))
    targets = _unique(codec.target_tokens(range(spec.decoder.embeddings.weight.shape[0])))
    spec.register_source_vocabulary(sources)
    spec.register_target_vocabulary(targets)
    spec.config.eos_token = targets[codec.eos_token_id]
    spec.config.unk_token = targets[codec.unk_token_id]
    spec.config.decoder_start_token = None if start is None else targets[start]


def _unique(tokens: Sequence[str | None]) -> list[str]:
    """The tokens, ids without a spelling of their own renamed: CTranslate2 looks them up."""
    seen: set[str | None] = {None}
    names = []
    for place, token in enumerate(tokens):
        names.append(f"<unused {place}>" if token is None or token in seen else token)
        seen.add(token)
    return names
