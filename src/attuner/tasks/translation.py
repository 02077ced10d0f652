"""Translation, and any other text → text: lines in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from attuner.data.features import Ints, SequencePairs, TokenColumn
from attuner.models.dropout import FastDropout
from attuner.models.layout import filled_up, layout, to_device
from attuner.models.objective import IGNORED, loss_in_forward
from attuner.models.packing import can_pack, packing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attuner.models.codec import TextCodec
    from attuner.tasks.task import Batch

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features, and what encoding had to cut or leave out."""

    features: SequencePairs
    counts: dict[str, int]


def encode(
    pairs: Iterable[tuple[str, str, int]],
    codec: TextCodec,
    *,
    weights: Sequence[float] = (),
    max_source_tokens: int = 128,
    max_target_tokens: int = 128,
    too_long: str = "cut",
    progress: Progress | None = None,
) -> Encoded:
    """Turn pairs of lines into token ids.

    Args:
        pairs: Source line, target line, index of the example they were cut from.
        codec: The checkpoint's tokens.
        weights: How often each example is seen in an epoch, by example index; all 1 if empty.
        max_source_tokens: Longest source, end token included.
        max_target_tokens: Longest target, end token included.
        too_long: `cut` (the end token is kept) or `skip`.
        progress: Called with lines done and in all.

    Returns:
        The features, and counts by reason: "source cut", "target cut", "too long".
    """
    rows = list(pairs)
    source: list[list[int]] = []
    target: list[list[int]] = []
    for start in range(0, len(rows), 10_000):
        part = rows[start : start + 10_000]
        source += codec.encode_source([row[0] for row in part])
        target += codec.encode_target([row[1] for row in part])
        if progress:
            progress(min(start + 10_000, len(rows)), len(rows))
    examples = np.fromiter((row[2] for row in rows), np.int64, len(rows))
    counts: dict[str, int] = {}
    if too_long == "skip":
        kept = [
            index
            for index in range(len(rows))
            if len(source[index]) <= max_source_tokens and len(target[index]) <= max_target_tokens
        ]
        counts["too long"] = len(rows) - len(kept)
        source, target = [source[i] for i in kept], [target[i] for i in kept]
        examples = examples[kept]
    else:
        counts["source cut"] = _cut(source, max_source_tokens)
        counts["target cut"] = _cut(target, max_target_tokens)
    row_weights = np.asarray(weights)[examples] if len(weights) else np.ones(len(examples))
    features = SequencePairs(
        TokenColumn.from_lists(source), TokenColumn.from_lists(target), examples, row_weights
    )
    return Encoded(features, {reason: n for reason, n in counts.items() if n})


def _cut(sequences: list[list[int]], longest: int) -> int:
    """Shorten sequences in place, keeping their end token; how many were."""
    num_cut = 0
    for index, ids in enumerate(sequences):
        if len(ids) > longest:
            sequences[index] = [*ids[: longest - 1], ids[-1]]
            num_cut += 1
    return num_cut


class TranslationTask:
    """Collate and loss of text → text; packed where the model allows, padded elsewhere."""

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0) -> None:
        config: Any = model.config
        self.is_packed = can_pack(model)
        self.batches = (
            "packed, no padding"
            if self.is_packed
            else f"padded by token budget ({config.model_type}: positions cannot be passed in)"
        )
        self._label_smoothing = label_smoothing
        self._pad: int = config.pad_token_id
        start = config.decoder_start_token_id
        self._start: int = self._pad if start is None else start

    def prepared(self, model: nn.Module) -> AbstractContextManager[None]:
        """Hook the loss, and packing where possible, into the model's forward."""
        return _hooked(model, self.is_packed)

    def collate(self, features: SequencePairs, rows: Ints, device: torch.device) -> Batch:
        """The rows as one micro-batch.

        Returns:
            Packed: `input_ids` (1, S), `decoder_input_ids` and `targets` (1, T), `packed`.
            Padded: `input_ids` and `attention_mask` (B, S), `decoder_input_ids` and `targets`
            (B, T). Targets are -100 where there is no token.
        """
        lengths = np.maximum(features.source.lengths[rows], features.target.lengths[rows])
        rows = rows[np.argsort(lengths, kind="stable")]
        source, source_lengths = map(torch.from_numpy, features.source.take(rows))
        target, target_lengths = map(torch.from_numpy, features.target.take(rows))
        shifted = target.roll(1)
        shifted[target_lengths.cumsum(0) - target_lengths] = self._start
        if self.is_packed:
            batch = {
                "input_ids": filled_up(source, self._pad)[None],
                "decoder_input_ids": filled_up(shifted, self._pad)[None],
                "targets": filled_up(target, IGNORED)[None],
            }
            packed = to_device(layout(source_lengths, target_lengths), device)
            return {**_moved(batch, device), "packed": packed}
        input_ids = _padded(source, source_lengths, self._pad)
        real = torch.arange(input_ids.shape[1]) < source_lengths[:, None]
        batch = {
            "input_ids": input_ids,
            "attention_mask": real.long(),
            "decoder_input_ids": _padded(shifted, target_lengths, self._pad),
            "targets": _padded(target, target_lengths, IGNORED),
        }
        return _moved(batch, device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Sum of the cross-entropies over real target tokens, in nats.

        Label smoothing applies while the model trains, not while it is evaluated.
        """
        smoothing = self._label_smoothing if model.training else 0.0
        with FastDropout() if model.training else nullcontext():
            output = model(**batch, use_cache=False, label_smoothing=smoothing)
        return output.loss  # type: ignore[no-any-return]


@contextmanager
def _hooked(model: nn.Module, packed: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(loss_in_forward(model))
        if packed:
            stack.enter_context(packing(model))
        yield


def _padded(flat: Tensor, lengths: Tensor, fill: int) -> Tensor:
    """Flat ids (N,) as rows filled up with `fill`, (B, longest)."""
    width = int(lengths.max())
    rows = flat.new_full((len(lengths), width), fill)
    rows[torch.arange(width) < lengths[:, None]] = flat
    return rows


def _moved(batch: dict[str, Tensor], device: torch.device) -> dict[str, Any]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
