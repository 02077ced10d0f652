"""Translation, and any other text → text, with its model: what an own loop calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.blocks.task import OwnModel, model_folder
from attuner.data.examples import EXAMPLES
from attuner.data.stored import Stored
from attuner.errors import DataError
from attuner.models.loading import load_seq2seq, resolve_model, save_model
from attuner.models.usage import set_languages, write_usage
from attuner.tasks.translation import (
    Encoded,
    TranslationTask,
    concatenated,
    encode,
    told_pairs,
)
from attuner.training.optimizer import keep_pad_row_zero
from attuner.training.processes import ALONE, Processes
from attuner.training.scorer import Scored, alike
from attuner.training.scoring import GenerationOptions, generated_scores, token_loss, with_loss
from attuner.training.setup import Origin, origin_in, told_to_engines

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.data.features import Ints, SequencePairs
    from attuner.data.units import Example
    from attuner.tasks.task import Batch, FixedShape

Progress = Callable[[int, int], None]


class Translation(OwnModel, TranslationTask):
    """Translation, and any other text → text; `load_translation` makes one.

    Args:
        model: An encoder-decoder model.
        origin: Its tokens, and where they lie.
        max_source_tokens: Longest source, end token included.
        max_target_tokens: Longest target, end token included.
        whole_texts: Whether a model sees texts as a whole, not line by line.
        label_smoothing: Share of the target's probability that is spread over the vocabulary.

    Attributes:
        model: The bare model, fp32.
        codec: The tokens.
        is_packed: Whether batches have no padding.
        batches: How they are made, in words.

    >>> import numpy as np
    >>> import attuner.blocks as blocks
    >>> task = blocks.load_translation("embedded:en-fr", source="en", target="fr")
    >>> rows = [("Open the file", "Ouvrir le fichier"), ("Save", "Enregistrer")]
    >>> data = blocks.split_pairs(
    ...     blocks.pairs_from(rows, source="en", target="fr"), validation_size=0, test_size=0
    ... )
    >>> train = task.encode(data.train).features
    >>> train.source.lengths.tolist(), train.target.lengths.tolist()
    ([4, 2], [4, 2])
    >>> batch = task.collate(train, np.array([0, 1]))  # 6 tokens in one row, filled up to 16
    >>> batch["input_ids"].shape, batch["targets"].shape, task.batches
    (torch.Size([1, 16]), torch.Size([1, 16]), 'packed, no padding')
    >>> with task.training():
    ...     loss = task.loss(task.model, batch)  # the sum over 6 target tokens, in nats
    >>> loss.shape
    torch.Size([])
    >>> task.decode(train.target.to_lists())
    ['Ouvrir le fichier', 'Enregistrer']
    """

    def __init__(
        self,
        model: nn.Module,
        origin: Origin,
        *,
        max_source_tokens: int = 128,
        max_target_tokens: int = 128,
        whole_texts: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(model, label_smoothing=label_smoothing)
        self.model = model
        self.codec = origin.codec
        self._folder = origin.tokenizer_folder
        self._positions = origin.max_positions or max(max_source_tokens, max_target_tokens)
        self._max_source_tokens = min(max_source_tokens, self._positions)
        self._max_target_tokens = min(max_target_tokens, self._positions)
        self._whole_texts = whole_texts

    def encode(self, examples: Sequence[Example], *, too_long: str = "cut") -> Encoded:
        """Examples → token ids, a row for each pair of lines (or of whole texts).

        Args:
            examples: Such as a part of `split_pairs`.
            too_long: `cut` (the end token is kept) or `skip`.

        Returns:
            `features`: `source` and `target` ids, and the example of each row; `counts`: what was
            cut or left out, by reason. An example whose sides have different numbers of lines gives
            no row.

        Raises:
            DataError: No pair is left.
        """
        stored = examples if isinstance(examples, Stored) else Stored.of(examples, EXAMPLES)
        found = concatenated(
            [
                encode(
                    pairs,
                    codec,
                    weights=stored.weights,
                    max_source_tokens=self._max_source_tokens,
                    max_target_tokens=self._max_target_tokens,
                    too_long=too_long,
                )
                for codec, pairs in told_pairs(stored, self.codec, whole_texts=self._whole_texts)
            ]
        )
        if not len(found.features):
            raise DataError(
                f"No pair of texts is left of {len(stored):,} examples.",
                "Expected examples whose two sides have as many lines, and pairs with at most "
                f"{self._max_source_tokens} and {self._max_target_tokens} tokens.",
                'Give other examples, or too_long="cut".',
            )
        return found

    def collate(
        self,
        features: SequencePairs,
        rows: Ints,
        device: torch.device | None = None,
        shape: FixedShape | None = None,
    ) -> Batch:
        """The rows as one micro-batch on the model's device; see `TranslationTask.collate`."""
        return super().collate(features, rows, device or self._device, shape)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Target ids, also with special tokens or padding → texts."""
        return self.codec.decode(sequences)

    def evaluate(
        self,
        examples: Sequence[Example],
        *,
        metrics: Sequence[str] | None = None,
        num_beams: int = 4,
        max_new_tokens: int = 128,
        engine: str = "auto",
        quantization: str = "float32",
        batch_examples: int = 64,
        computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
        progress: Progress | None = None,
        processes: Processes = ALONE,
    ) -> Scored:
        """Token loss, and scores of what the model generates; inside of `training` and outside.

        Every example counts once, whatever the number of processes; each gets the whole result.

        Args:
            examples: At least one.
            metrics: Names of the scores; BLEU and chrF, or ROUGE-L and chrF of whole texts.
            num_beams: Width of the beam search; 1 is greedy.
            max_new_tokens: Longest translation of a line, in tokens.
            engine: `ctranslate2`, `transformers`, or `auto`: CTranslate2 where it can.
            quantization: Number format of CTranslate2's weights: `float32` or `int8`.
            batch_examples: Rows of one forward of the token loss.
            computing: Makes the block that a forward of the token loss runs in, such as
                `optimizer.computing`.
            progress: Called with the number of lines done and their total.
            processes: Who shares the work.

        Returns:
            `scores` (`loss` in nats a target token, the metrics 0 to 100), their `signatures`, and
            `predictions`, a text for each example, in their order.

        Raises:
            UsageError: There is no such metric.
            MissingExtraError: A metric's library is not installed.
        """
        features = self.encode(examples).features
        options = GenerationOptions(
            engine=engine,
            quantization=quantization,
            num_beams=num_beams,
            max_new_tokens=min(max_new_tokens, self._positions),
            whole_texts=self._whole_texts,
            max_source_tokens=told_to_engines(self._max_source_tokens),
            metrics=tuple(
                metrics or (("rougeL", "chrf") if self._whole_texts else ("bleu", "chrf"))
            ),
        )

        def score() -> Scored:
            with self._hooked():
                loss = token_loss(
                    self.model,
                    self,
                    features,
                    self._device,
                    batch_examples=batch_examples,
                    computing=computing,
                    sharing=processes,
                )
            with self._bare():
                found = generated_scores(
                    self.model, self.codec, examples, options, progress=progress, sharing=processes
                )
            signatures = {**found.signatures, "engine": found.engine}
            return Scored(with_loss(found.scores, loss), signatures, found.predictions)

        return alike(score, processes)

    def save(self, folder: Path | str) -> None:
        """Write a model folder that transformers and `attuner.load` read.

        Args:
            folder: A new folder, or that of a model, which is replaced.

        Raises:
            UsageError: There is something else.
        """
        with model_folder(folder) as partial, self._bare():
            save_model(self.model, self._folder, partial)
            write_usage(
                self.codec,
                partial,
                whole_texts=self._whole_texts,
                max_source_tokens=told_to_engines(self._max_source_tokens),
            )


def load_translation(
    name: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    prefix: str | None = None,
    revision: str | None = None,
    dropout: float | None = None,
    max_source_tokens: int = 128,
    max_target_tokens: int = 128,
    whole_texts: bool = False,
    label_smoothing: float = 0.0,
) -> Translation:
    """Load a checkpoint of text → text for training: fp32, told its languages.

    Args:
        name: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        source: Language of the sources; the checkpoint's where not given.
        target: Language of the targets; likewise.
        prefix: Text before each source, such as `"summarize: "`; what the family was trained with
            where not given.
        revision: Branch, tag or commit of a Hub id.
        dropout: Replaces the checkpoint's dropout.
        max_source_tokens: Longest source, end token included.
        max_target_tokens: Longest target, end token included.
        whole_texts: Whether a model sees texts as a whole, not line by line.
        label_smoothing: Share of the target's probability that is spread over the vocabulary.

    Raises:
        ModelError: There is no such checkpoint, it is incomplete, or knows no such language.
        HubError: It cannot be fetched.
    """
    folder = resolve_model(str(name), revision=revision)
    origin = origin_in(folder, str(name), source, target, prefix)
    model = load_seq2seq(folder, dropout=dropout)
    set_languages(model, origin.codec)
    keep_pad_row_zero(model)
    return Translation(
        model,
        origin,
        max_source_tokens=max_source_tokens,
        max_target_tokens=max_target_tokens,
        whole_texts=whole_texts,
        label_smoothing=label_smoothing,
    )
