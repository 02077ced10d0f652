"""Translation, and any other text → text: lines in, lines out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attuner.data.features import Ints, SequencePairs, TokenColumn
from attuner.data.line_pairs import LinePairs, pairs_by_languages
from attuner.data.stored import Stored
from attuner.data.units import Example
from attuner.models.dropout import FastDropout
from attuner.models.families import family_of
from attuner.models.layout import filled_up, layout, padded, to_device
from attuner.models.objective import IGNORED, loss_in_forward
from attuner.models.packing import can_pack, packing, positions_like_words
from attuner.tasks.task import FIXED, FixedShape

if TYPE_CHECKING:
    from attuner.models.codec import TextCodec
    from attuner.tasks.task import Batch

Progress = Callable[[int, int], None]

# Lines encoded at a time: so few that their lists are gone before Python's garbage collector comes
# to walk through all that lives (with 10,000 it takes half as long again).
_CHUNK = 1_000
# In a batch that was made of no rows.
_NOTHING = "counts_nothing"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features, and what encoding had to cut or leave out."""

    features: SequencePairs
    counts: dict[str, int]


def encode(
    pairs: Collection[tuple[str, str, int]],
    codec: TextCodec,
    **options: Any,
) -> Encoded:
    """Turn pairs of lines into token ids; the options are those of `encoded_chunks`."""
    return concatenated(list(encoded_chunks(pairs, codec, **options)))


def encoded_chunks(
    pairs: Collection[tuple[str, str, int]],
    codec: TextCodec,
    *,
    weights: Sequence[float] | npt.NDArray[np.float64] = (),
    max_source_tokens: int = 128,
    max_target_tokens: int = 128,
    too_long: str = "cut",
    progress: Progress | None = None,
) -> Iterator[Encoded]:
    """Turn pairs of lines into token ids, a thousand at a time.

    Args:
        pairs: Source line, target line, index of the example they were cut from.
        codec: The checkpoint's tokens.
        weights: How often each example is seen in an epoch, by example index; all 1 if empty.
        max_source_tokens: Longest source, end token included.
        max_target_tokens: Longest target, end token included.
        too_long: `cut` (the end token is kept) or `skip`.
        progress: Called with lines done and in all.

    Yields:
        The features, and counts by reason: "source cut", "target cut", "too long". At least one
        piece, which is empty where there are no pairs.
    """
    of_examples = np.asarray(weights, np.float64)
    rest = iter(pairs)
    num_done = 0
    while chunk := list(islice(rest, _CHUNK)):
        sources, targets, examples = zip(*chunk, strict=True)
        source, target = codec.encode_source(sources), codec.encode_target(targets)
        example = np.array(examples, np.int64)
        source_is_long = source.lengths > max_source_tokens
        target_is_long = target.lengths > max_target_tokens
        if too_long == "skip":
            fits = ~(source_is_long | target_is_long)
            source, target, example = source.where(fits), target.where(fits), example[fits]
            counts = {"too long": len(fits) - len(example)}
        else:
            source = source.cut(max_source_tokens, codec.num_source_ends)
            target = target.cut(max_target_tokens)
            counts = {
                "source cut": int(source_is_long.sum()),
                "target cut": int(target_is_long.sum()),
            }
        weight = of_examples[example] if len(of_examples) else np.ones(len(example))
        features = SequencePairs(source, target, example, weight)
        yield Encoded(features, {reason: n for reason, n in counts.items() if n})
        num_done += len(chunk)
        if progress:
            progress(num_done, len(pairs))
    if not num_done:
        nothing = TokenColumn.from_lists([])
        yield Encoded(SequencePairs(nothing, nothing, np.zeros(0, np.int64), np.zeros(0)), {})


def told_pairs(
    examples: Stored[Example], codec: TextCodec, *, whole_texts: bool
) -> Iterator[tuple[TextCodec, LinePairs]]:
    """Pairs to learn from, by their languages, with the tokens that are told these.

    Args:
        examples: What the pairs are cut from.
        codec: The checkpoint's tokens.
        whole_texts: Whether a model sees texts as a whole, not line by line.
    """
    for languages, pairs in pairs_by_languages(examples, whole_texts).items():
        yield codec.between(*languages) if any(languages) else codec, pairs


def concatenated(chunks: Sequence[Encoded]) -> Encoded:
    """One after the other; their counts added up."""
    if len(chunks) == 1:
        return chunks[0]
    features = SequencePairs(
        TokenColumn.concatenate([chunk.features.source for chunk in chunks]),
        TokenColumn.concatenate([chunk.features.target for chunk in chunks]),
        np.concatenate([np.zeros(0, np.int64), *(chunk.features.example for chunk in chunks)]),
        np.concatenate([np.zeros(0), *(chunk.features.weight for chunk in chunks)]),
    )
    return Encoded(features, dict(sum((Counter(chunk.counts) for chunk in chunks), Counter())))


class TranslationTask:
    """Collate and loss of text → text; packed where the model allows, padded elsewhere.

    Args:
        model: A model of text → text.
        label_smoothing: Share of the target's probability spread over the vocabulary.
        r_drop: Weight of R-Drop.
        fixed_shapes: Whether batches are padded, to a shape that `collate` is told, and nothing
            that is computed of them has a shape of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        label_smoothing: float = 0.0,
        r_drop: float = 0.0,
        fixed_shapes: bool = False,
    ) -> None:
        config: Any = model.config
        self.is_packed = can_pack(model) and not fixed_shapes
        if fixed_shapes:
            self.batches = FIXED
        else:
            padded = _why_padded(config.model_type)
            self.batches = "packed, no padding" if self.is_packed else padded
        self._fixed_shapes = fixed_shapes
        self._label_smoothing = label_smoothing
        self._r_drop = r_drop
        self._pad: int = config.pad_token_id
        starts: tuple[Any, ...] = (
            getattr(config, "decoder_start_token_id", None),
            model.generation_config.decoder_start_token_id,  # type: ignore[union-attr]
            self._pad,
        )
        self.start: int = next(start for start in starts if start is not None)

    def prepared(self, model: nn.Module) -> AbstractContextManager[None]:
        """Hook the loss, and packing where possible, into the model's forward."""
        return _hooked(model, self.is_packed, self._fixed_shapes)

    def collate(
        self,
        features: SequencePairs,
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
            Packed: `input_ids` (1, S), `decoder_input_ids` and `targets` (1, T), `packed`.
            Padded: `input_ids` and `attention_mask` (B, S), `decoder_input_ids` and `targets`
            (B, T). Targets are -100 where there is no token. Of no rows: a batch whose loss is 0,
            so that a process that has none can go along with the others.
        """
        if not len(rows):  # R-Drop wants pairs
            some = np.zeros(2 if self._r_drop else 1, np.int64)
            return {**self.collate(features, some, device, shape), _NOTHING: True}
        lengths = np.maximum(features.source.lengths_at(rows), features.target.lengths_at(rows))
        rows = rows[np.argsort(lengths, kind="stable")]
        source, source_lengths = map(torch.from_numpy, features.source.take(rows))
        target, target_lengths = map(torch.from_numpy, features.target.take(rows))
        shifted = target.roll(1)
        shifted[target_lengths.cumsum(0) - target_lengths] = self.start
        if self.is_packed:
            batch = {
                "input_ids": filled_up(source, self._pad)[None],
                "decoder_input_ids": filled_up(shifted, self._pad)[None],
                "targets": filled_up(target, IGNORED)[None],
            }
            packed = to_device(layout(source_lengths, target_lengths), device)
            return {**_moved(batch, device), "packed": packed}
        num_rows, widths = len(rows), (int(source_lengths.max()), int(target_lengths.max()))
        if shape is not None:
            num_rows, widths = shape.rows, (shape.source_tokens, shape.target_tokens)
        input_ids, real = padded(source, source_lengths, self._pad, num_rows, widths[0])
        batch = {
            "input_ids": input_ids,
            "attention_mask": real.long(),
            "decoder_input_ids": padded(shifted, target_lengths, self._pad, num_rows, widths[1])[0],
            "targets": padded(target, target_lengths, IGNORED, num_rows, widths[1])[0],
        }
        return _moved(batch, device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Sum of the cross-entropies over real target tokens, in nats.

        Label smoothing and R-Drop apply while the model trains, not while it is evaluated. R-Drop
        wants each row twice, one after the other.
        """
        options = {"label_smoothing": self._label_smoothing, "r_drop": self._r_drop}
        inputs = {name: value for name, value in batch.items() if name != _NOTHING}
        with FastDropout() if model.training else nullcontext():
            output = model(**inputs, use_cache=False, **(options if model.training else {}))
        loss: Tensor = output.loss
        return loss * 0.0 if _NOTHING in batch else loss


def _why_padded(model_type: str) -> str:
    family = family_of(model_type)
    if family.positions == "relative":
        return f"padded by token budget ({family.title} has relative positions)"
    return f"padded by token budget (how {family.title} counts positions is not known)"


@contextmanager
def _hooked(model: nn.Module, packed: bool, fixed_shapes: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(loss_in_forward(model, keeps_padding=fixed_shapes))
        stack.enter_context(packing(model) if packed else positions_like_words(model))
        yield


def _moved(batch: dict[str, Tensor], device: torch.device) -> dict[str, Any]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
