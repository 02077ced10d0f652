"""Classification: one or two texts in; a label, several labels or a rating out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attuner.data.features import Ints, LabelledTexts, TokenColumn
from attuner.data.labelled import LabelledExample, text_columns
from attuner.data.labels import Kind, LabelSet
from attuner.models.dropout import FastDropout
from attuner.models.encoder_packing import can_pack, encoder_packing, first_position
from attuner.models.layout import encoder_layout, filled_up, padded, to_device
from attuner.models.r_drop import divergence_of_twins
from attuner.tasks.task import FIXED, FixedShape

if TYPE_CHECKING:
    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.tasks.task import Batch

# Texts tokenised at a time.
_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class EncodedLabels:
    """Features, and what encoding had to cut or leave out."""

    features: LabelledTexts
    counts: dict[str, int]


def encode(
    examples: Iterable[LabelledExample],
    tokens: ClassifierTokens,
    labels: LabelSet,
    **options: Any,
) -> EncodedLabels:
    """Turn labelled examples into token ids and targets; options as those of `encoded_chunks`."""
    chunks = list(encoded_chunks(examples, tokens, labels, **options))
    if len(chunks) == 1:
        return chunks[0]
    made = [chunk.features for chunk in chunks]
    types = [features.token_types for features in made if features.token_types is not None]
    features = LabelledTexts(
        TokenColumn.concatenate([features.tokens for features in made]),
        TokenColumn.concatenate(types) if types else None,
        np.concatenate([features.targets for features in made]),
        np.concatenate([features.weight for features in made]),
        np.concatenate([features.example for features in made]),
    )
    return EncodedLabels(features, dict(sum((Counter(c.counts) for c in chunks), Counter())))


def encoded_chunks(
    examples: Iterable[LabelledExample],
    tokens: ClassifierTokens,
    labels: LabelSet,
    *,
    max_tokens: int = 128,
    too_long: str = "cut",
) -> Iterator[EncodedLabels]:
    """Turn labelled examples into token ids and targets, some thousand at a time.

    Args:
        examples: Examples with labels of `labels`; all pairs, or none.
        tokens: The checkpoint's tokenizer.
        labels: The labels.
        max_tokens: Longest sequence, special tokens included; of a pair, both texts together.
        too_long: `cut` or `skip`.

    Yields:
        The features, and counts by reason: "text cut", "too long". At least one piece.
    """
    rest, start = iter(examples), 0
    while (chunk := list(islice(rest, _CHUNK))) or not start:
        encoded = tokens.encode(
            *text_columns(chunk),
            max_tokens=max_tokens + (too_long == "skip"),  # one more shows which are longer
        )
        fits = encoded.tokens.lengths <= max_tokens
        kept = [example for example, it_fits in zip(chunk, fits, strict=True) if it_fits]
        types = encoded.token_types
        features = LabelledTexts(
            encoded.tokens.where(fits),
            None if types is None else types.where(fits),
            labels.encode([example.label for example in kept]),
            np.array([example.weight for example in kept], np.float64),
            np.flatnonzero(fits) + start,
        )
        counts = {
            "text cut": encoded.num_cut if too_long == "cut" else 0,
            "too long": len(chunk) - len(kept),
        }
        yield EncodedLabels(features, {reason: n for reason, n in counts.items() if n})
        if not chunk:
            return
        start += len(chunk)


class ClassificationTask:
    """Collate and loss of classification; packed where the model allows, padded elsewhere.

    Args:
        model: A model with a head for sequences.
        kind: `single`, `multi` or `rating`.
        pads_left: Whether padded rows are filled up on the left.
        label_smoothing: Share of the target's probability that is spread over the labels, while
            the model trains; `single` only.
        class_weights: Factor of each label's loss, (C,); for `multi`, of examples that have it.
        r_drop: Weight of R-Drop, while the model trains.
        fixed_shapes: Whether batches are padded, to a shape that `collate` is told.
    """

    def __init__(
        self,
        model: nn.Module,
        kind: Kind,
        *,
        pads_left: bool = False,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
        r_drop: float = 0.0,
        fixed_shapes: bool = False,
    ) -> None:
        config: Any = model.config
        self.is_packed = can_pack(model) and not fixed_shapes
        if fixed_shapes:
            self.batches = FIXED
        elif self.is_packed:
            self.batches = "packed, no padding"
        else:
            why = f"{config.model_type}: positions cannot be passed in"
            self.batches = f"padded by token budget ({why})"
        self._kind = kind
        self._pads_left = pads_left
        # Where a model counts positions from the left, those of padding would count, too.
        self._tells_positions = pads_left and _takes(model, "position_ids")
        self._label_smoothing = label_smoothing
        self._r_drop = r_drop
        self._weights = None if class_weights is None else torch.from_numpy(class_weights)
        self._pad: int = config.pad_token_id or 0
        self._first_position = first_position(config)

    def prepared(self, model: nn.Module) -> AbstractContextManager[None]:
        """Hook packing, where possible, into the model's forward."""
        return encoder_packing(model) if self.is_packed else nullcontext()

    def collate(
        self,
        features: LabelledTexts,
        rows: Ints,
        device: torch.device,
        shape: FixedShape | None = None,
    ) -> Batch:
        """The rows as one micro-batch.

        Args:
            features: All rows.
            rows: Those to take.
            device: Where the tensors go.
            shape: What a padded batch is filled up to.

        Returns:
            `inputs`, what the model takes. Packed: `input_ids`, `position_ids` and for pairs
            `token_type_ids` (1, N), and `packed`. Padded: `input_ids`, `attention_mask` and for
            pairs `token_type_ids` (B, S), and `position_ids` where rows are filled up on the
            left. And `targets`, (B,) or (B, C). With a shape, `real` (B,) says which rows are.
            Rows are in the order of their lengths. Of no rows: a batch whose loss is 0, so that a
            process that has none can go along with the others.
        """
        if not len(rows):  # R-Drop wants pairs
            some = np.zeros(2 if self._r_drop else 1, np.int64)
            batch = self.collate(features, some, device, shape)
            return {**batch, "real": torch.zeros(len(batch["targets"]), device=device)}
        lengths = features.tokens.lengths_at(rows)
        rows = rows[np.argsort(lengths, kind="stable")]
        targets = torch.from_numpy(features.targets[rows])
        columns = {"input_ids": (features.tokens, self._pad)}
        if features.token_types is not None:
            columns["token_type_ids"] = (features.token_types, 0)
        if self.is_packed:
            inputs = self._packed(columns, rows, device)
        else:
            inputs = self._padded(columns, rows, device, shape)
        batch = {"inputs": inputs, "targets": targets.to(device, non_blocking=True)}
        if shape is None:
            return batch
        more = (*(0, 0) * (targets.ndim - 1), 0, shape.rows - len(rows))
        real = F.pad(torch.ones(len(rows)), (0, shape.rows - len(rows)))
        return {**batch, "targets": F.pad(targets, more).to(device), "real": real.to(device)}

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the model says of each text, (B, C)."""
        options = {} if self.is_packed else _without_cache(model)
        logits: Tensor = model(**batch["inputs"], **options).logits
        return logits

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Sum over the texts of their loss: see `loss_of`.

        Label smoothing and R-Drop apply while the model trains, not while it is evaluated. R-Drop
        wants each row twice, one after the other.
        """
        targets, real = batch["targets"], batch.get("real")
        if not model.training:
            return self.loss_of(self.logits(model, batch), targets, real=real)
        with FastDropout():
            logits = self.logits(model, batch)
        loss = self.loss_of(logits, targets, label_smoothing=self._label_smoothing, real=real)
        if not self._r_drop:
            return loss
        apart = divergence_of_twins(logits.float(), self._kind)
        if real is not None:
            apart = apart * real[::2]
        return (loss + self._r_drop * apart.sum()) / 2

    def loss_of(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        real: Tensor | None = None,
    ) -> Tensor:
        """Sum over the texts of a loss of each.

        `single`: cross-entropy, in nats. `multi`: the mean over the labels of the binary
        cross-entropy. `rating`: the squared error.

        Args:
            logits: (B, C).
            targets: (B,) or (B, C).
            label_smoothing: Share spread over the labels (Szegedy et al. 2016).
            real: 1 for each text, 0 for rows that only fill up, (B,); None where all are real.
        """
        logits = logits.float()
        weights = None if self._weights is None else self._weights.to(logits.device)
        how = "sum" if real is None else "none"
        if self._kind == "rating":
            loss = F.mse_loss(logits[:, 0], targets, reduction=how)
        elif self._kind == "multi":
            loss = F.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=weights, reduction=how
            )
            loss = (loss if real is None else loss.sum(1)) / logits.shape[1]
        else:
            loss = F.cross_entropy(
                logits, targets, weight=weights, label_smoothing=label_smoothing, reduction=how
            )
        return loss if real is None else (loss * real).sum()

    def mean_loss(self, logits: np.ndarray, targets: np.ndarray) -> float:
        """The mean loss of texts, from logits (N, C) and targets (N,) or (N, C)."""
        return float(self.loss_of(torch.from_numpy(logits), torch.tensor(targets))) / len(targets)

    def _packed(
        self, columns: Mapping[str, tuple[TokenColumn, int]], rows: Ints, device: torch.device
    ) -> dict[str, Any]:
        inputs = {}
        for name, (column, fill) in columns.items():
            flat, lengths = map(torch.from_numpy, column.take(rows))
            inputs[name] = filled_up(flat, fill)[None].to(device, non_blocking=True)
        packed = to_device(encoder_layout(lengths), device)
        positions = packed.source_positions + self._first_position
        return {**inputs, "position_ids": positions, "packed": packed}

    def _padded(
        self,
        columns: Mapping[str, tuple[TokenColumn, int]],
        rows: Ints,
        device: torch.device,
        shape: FixedShape | None,
    ) -> dict[str, Any]:
        inputs = {}
        for name, (column, fill) in columns.items():
            flat, lengths = map(torch.from_numpy, column.take(rows))
            num_rows, width = len(rows), int(lengths.max())
            if shape is not None:
                num_rows, width = shape.rows, shape.source_tokens
            inputs[name], is_real = padded(
                flat, lengths, fill, num_rows, width, on_left=self._pads_left
            )
        inputs["attention_mask"] = is_real.long()
        if self._tells_positions:
            positions = (is_real.cumsum(-1) - 1).clamp_min(0)
            inputs["position_ids"] = positions + self._first_position
        return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}


def _without_cache(model: nn.Module) -> dict[str, bool]:
    """Decoders keep keys and values for a next token that nobody asks for."""
    return {"use_cache": False} if _takes(model, "use_cache") else {}


def _takes(model: nn.Module, name: str) -> bool:
    """Whether a model's forward has an argument of this name."""
    return name in signature(getattr(model, "module", model).forward).parameters
