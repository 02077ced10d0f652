"""Padded batches, as any collator makes them, turned into features that Attuner collates anew.

A user's data sets, samplers and collators stay as they are, and so does what an update is made
of. Where a batch holds more than the model's usual inputs, or is laid out in another way, it is
left to transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attuner.data.features import Ints, LabelledTexts, SequencePairs, TokenColumn, offsets_of
from attuner.data.labels import Kind
from attuner.inference.batches import batches_by_length
from attuner.models.objective import IGNORED
from attuner.tasks.classification import ClassificationTask
from attuner.tasks.translation import TranslationTask
from attuner.training.plans import MAX_PADDED_TOKENS

_TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "labels", "decoder_input_ids"})
_LABEL_INPUTS = frozenset({"input_ids", "attention_mask", "labels", "token_type_ids"})
_KINDS: dict[str, Kind] = {
    "regression": "rating",
    "single_label_classification": "single",
    "multi_label_classification": "multi",
}
# Families that shift labels so, in their forward only.
_SHIFTED_WITHIN = ("m2m_100",)


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch that Attuner computes.

    Attributes:
        task: Its collate and loss.
        features: The rows.
        pieces: The rows of each forward, alike lengths together.
        num_targets: What the loss is a mean over: real target tokens, or texts.
    """

    task: TranslationTask | ClassificationTask
    features: SequencePairs | LabelledTexts
    pieces: tuple[Ints, ...]
    num_targets: int


def take_text(
    model: Any, inputs: Mapping[str, Any], *, label_smoothing: float, may_cut: bool
) -> Taken | str:
    """A batch of text → text.

    Args:
        model: An encoder-decoder model.
        inputs: `input_ids`, `attention_mask` (B, S), `labels`, `decoder_input_ids` (B, T).
        label_smoothing: Share spread over the vocabulary.
        may_cut: Whether a padded batch may take several forwards.

    Returns:
        The batch, or why it is left to transformers.
    """
    why = _strange(inputs, _TEXT_INPUTS)
    if why:
        return why
    labels = inputs["labels"]
    task = TranslationTask(model, label_smoothing=label_smoothing)
    source = _column(inputs["input_ids"], _mask(inputs))
    target = _column(labels, labels != IGNORED)
    if source is None or target is None:
        return "rows are empty, or filled up on the left"
    if not _is_shifted(model, inputs, task.start):
        return "decoder_input_ids are not the labels behind the start token"
    num = len(target)
    features = SequencePairs(source, target, np.arange(num), np.ones(num))
    lengths = np.maximum(source.lengths, target.lengths)
    pieces = _cut(lengths, may_cut and not task.is_packed)
    return Taken(task, features, pieces, len(target.values))


def take_labels(
    model: Any, inputs: Mapping[str, Any], *, label_smoothing: float, may_cut: bool
) -> Taken | str:
    """A batch of labelled texts; arguments as of `take_text`, `labels` (B,) or (B, C)."""
    why = _strange(inputs, _LABEL_INPUTS)
    if why:
        return why
    labels = inputs["labels"]
    kind = _kind(model, labels)
    wanted = (len(inputs["input_ids"]), *((model.num_labels,) if kind == "multi" else ()))
    if kind == "rating":
        labels = labels.flatten()
    if tuple(labels.shape) != wanted or bool((labels == IGNORED).any()):
        return f"labels have the shape {tuple(labels.shape)}"
    mask = _mask(inputs)
    tokens = _column(inputs["input_ids"], mask)
    if tokens is None:
        return "rows are empty, or filled up on the left"
    types = inputs.get("token_type_ids")
    targets = labels.cpu().numpy().astype(np.int64 if kind == "single" else np.float32)
    num = len(tokens)
    features = LabelledTexts(
        tokens,
        None if types is None else _column(types, mask),
        targets,
        np.ones(num),
        np.arange(num),
    )
    task = ClassificationTask(
        model, kind, label_smoothing=label_smoothing if kind == "single" else 0.0
    )
    return Taken(task, features, _cut(tokens.lengths, may_cut and not task.is_packed), num)


def _strange(inputs: Mapping[str, Any], known: frozenset[str]) -> str:
    """What of a batch is not as usual; "" where nothing is."""
    missing = [name for name in ("input_ids", "labels") if name not in inputs]
    more = sorted(set(inputs) - known)
    if missing or more:
        return f"batches {'lack' if missing else 'hold'} {', '.join(missing or more)}"
    is_usual = all(isinstance(value, Tensor) for value in inputs.values())
    return "" if is_usual and inputs["input_ids"].ndim == 2 else "batches are not (B, S) tensors"


def _is_shifted(model: Any, inputs: Mapping[str, Any], start: int) -> bool:
    """Whether the decoder is given the start token, then the labels."""
    labels, given = inputs["labels"], inputs.get("decoder_input_ids")
    if given is None:
        prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if prepare is None:
            return model.config.model_type in _SHIFTED_WITHIN
        given = prepare(labels=labels)
    follows = given[:, 1:] == labels[:, :-1]
    return bool(follows[labels[:, 1:] != IGNORED].all() and (given[:, 0] == start).all())


def _mask(inputs: Mapping[str, Any]) -> Tensor:
    mask = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"]).bool() if mask is None else mask.bool()


def _column(ids: Tensor, real: Tensor) -> TokenColumn | None:
    """The real ids of each row; None where one has none, or they do not come first."""
    lengths = real.sum(1)
    if not bool(real[:, 0].all()) or bool((real[:, 1:] & ~real[:, :-1]).any()):
        return None
    return TokenColumn(
        ids[real].cpu().numpy().astype(np.int32), offsets_of(lengths.cpu().numpy().astype(np.int64))
    )


def _kind(model: Any, labels: Tensor) -> Kind:
    """What is learned, found and noted in the configuration as transformers does."""
    config = model.config
    if config.problem_type is None:
        whole = labels.dtype in (torch.int64, torch.int32)
        config.problem_type = (
            "regression"
            if model.num_labels == 1
            else "single_label_classification"
            if whole
            else "multi_label_classification"
        )
    return _KINDS[config.problem_type]


def _cut(lengths: Ints, is_cut: bool) -> tuple[Ints, ...]:
    """Rows by length, in pieces where padding would cost much."""
    if not is_cut:
        return (np.argsort(lengths, kind="stable"),)
    return tuple(np.array(p) for p in batches_by_length(lengths.tolist(), MAX_PADDED_TOKENS))
