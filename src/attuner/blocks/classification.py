"""Classification with its model: what an own loop calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from attuner.blocks.task import OwnModel, model_folder
from attuner.data.labelled import LabelledExample
from attuner.data.labels import Label, LabelSet, decided, weights_by_label
from attuner.errors import DataError
from attuner.evaluation.classification import ScoreFunction, score_labels
from attuner.inference.classifier import predict_logits
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifier_usage import LabelUsage, write_label_usage
from attuner.models.classifiers import (
    load_classifier,
    longest_text,
    save_classifier,
    set_pad_token,
)
from attuner.models.loading import resolve_model
from attuner.tasks.classification import ClassificationTask, EncodedLabels, encode
from attuner.training.processes import ALONE, Processes
from attuner.training.scorer import Scored, alike

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.data.features import Ints, LabelledTexts
    from attuner.tasks.task import Batch, FixedShape

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Classification(OwnModel, ClassificationTask):
    """Texts, or pairs of texts → labels; `load_classification` makes one.

    Args:
        model: A model with a head for sequences.
        labels: Its labels.
        tokens: Its tokenizer.
        folder: Where the tokenizer's files lie.
        max_tokens: Longest text, or pair of texts together, special tokens included.
        label_smoothing: Share of the target's probability that is spread over the labels.
        class_weights: Factor of each label's loss, (C,).

    Attributes:
        model: The bare model, fp32.
        labels: Its labels.
        is_packed: Whether batches have no padding.
        batches: How they are made, in words.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from transformers import BertConfig, BertModel, BertTokenizer
    >>> import attuner.blocks as blocks
    >>> names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "book"]
    >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> rows = [(f"a {mood} book", mood) for mood in ("good", "bad")]
    >>> data, labels = blocks.split_labelled(
    ...     blocks.labelled_from(rows), validation_size=0, test_size=0
    ... )
    >>> with TemporaryDirectory() as folder:  # a BERT that knows nothing, and has no head
    ...     _ = BertTokenizer({name: i for i, name in enumerate(names)}).save_pretrained(folder)
    ...     BertModel(BertConfig(vocab_size=len(names), **sizes)).save_pretrained(folder)
    ...     task = blocks.load_classification(folder, labels)
    >>> train = task.encode(data.train).features
    >>> train.tokens.to_lists(), train.targets.tolist()
    ([[2, 5, 6, 8, 3], [2, 5, 7, 8, 3]], [1, 0])
    >>> batch = task.collate(train, np.array([0, 1]))  # 10 tokens in one row, filled up to 16
    >>> batch["inputs"]["input_ids"].shape, batch["targets"].shape, task.batches
    (torch.Size([1, 16]), torch.Size([2]), 'packed, no padding')
    >>> with task.training():
    ...     loss = task.loss(task.model, batch)  # the sum over 2 texts, in nats
    ...     logits = task.logits(task.model, batch)
    >>> loss.shape, logits.shape
    (torch.Size([]), torch.Size([2, 2]))
    >>> task.decode(np.array([[2.0, 1.0], [0.0, 3.0]]))
    ['bad', 'good']
    """

    def __init__(
        self,
        model: nn.Module,
        labels: LabelSet,
        tokens: ClassifierTokens,
        folder: Path,
        *,
        max_tokens: int = 128,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ) -> None:
        super().__init__(
            model,
            labels.kind,
            pads_left=tokens.pads_left,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
        )
        self.model = model
        self.labels = labels
        self._tokens = tokens
        self._folder = folder
        self._max_tokens = max_tokens

    def encode(
        self, examples: Iterable[LabelledExample], *, too_long: str = "cut"
    ) -> EncodedLabels:
        """Examples → token ids and targets, a row for each.

        Args:
            examples: Such as a part of `split_labelled`.
            too_long: `cut` (special tokens are kept) or `skip`.

        Returns:
            `features`: `tokens`, for pairs `token_types`, and `targets` (N,) or (N, C); `counts`:
            what was cut or left out, by reason.

        Raises:
            DataError: No text is left.
        """
        found = encode(
            examples, self._tokens, self.labels, max_tokens=self._max_tokens, too_long=too_long
        )
        if not len(found.features):
            raise DataError(
                "No text is left to learn from or to score.",
                f"Expected texts with at most {self._max_tokens} tokens.",
                'Give other examples, or too_long="cut".',
            )
        return found

    def collate(
        self,
        features: LabelledTexts,
        rows: Ints,
        device: torch.device | None = None,
        shape: FixedShape | None = None,
    ) -> Batch:
        """The rows as one micro-batch on the model's device; see `ClassificationTask.collate`."""
        return super().collate(features, rows, device or self._device, shape)

    def decode(self, logits: Tensor | np.ndarray, *, threshold: float = 0.5) -> list[Label]:
        """The model's outputs (B, C) → the label, labels or rating of each text.

        Args:
            logits: What `logits` gives.
            threshold: For several labels a text: the probability from which on one is given.
        """
        if isinstance(logits, Tensor):
            logits = logits.detach().float().cpu().numpy()
        return decided(logits, self.labels, threshold=threshold)

    def evaluate(
        self,
        examples: Sequence[LabelledExample],
        *,
        metrics: Sequence[str] | None = None,
        functions: Sequence[ScoreFunction] = (),
        threshold: float = 0.5,
        num_resamples: int = 0,
        computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
        progress: Progress | None = None,
        processes: Processes = ALONE,
    ) -> Scored:
        """Loss and metrics; inside of `training` and outside.

        Every example counts once, whatever the number of processes; each gets the whole result.

        Args:
            examples: At least one.
            metrics: Names of the scores; all that apply where None.
            functions: Metrics of one's own: predictions and targets, as numbers in the order of the
                labels → values by name.
            threshold: For several labels a text: the probability from which on one is given.
            num_resamples: Of the bootstrap behind `intervals`; 0 for none.
            computing: Makes the block that a forward runs in, such as `optimizer.computing`.
            progress: Called with the number of texts done and their total.
            processes: Who shares the work.

        Returns:
            `scores` (`loss` in nats a text, or squared error of ratings), their `signatures`,
            `intervals`, and `predictions`, a label for each example, in their order.

        Raises:
            UsageError: There is no such metric for these labels.
        """
        features = self.encode(examples).features

        def score() -> Scored:
            with self._hooked():
                logits = predict_logits(
                    self.model,
                    self,
                    features,
                    computing=computing,
                    progress=progress,
                    sharing=processes,
                )
            found = score_labels(
                logits,
                features.targets,
                self.labels,
                threshold=threshold,
                metrics=metrics,
                functions=functions,
                num_resamples=num_resamples,
            )
            loss = self.mean_loss(logits, features.targets)
            said = self.decode(logits, threshold=threshold)
            return Scored({"loss": loss, **found.scores}, found.signatures, said, found.intervals)

        return alike(score, processes)

    def save(self, folder: Path | str, **columns: str) -> None:
        """Write a model folder that transformers and `attuner.load` read.

        Args:
            folder: A new folder, or that of a model, which is replaced.
            **columns: What `attuner evaluate` looks for where it is not told otherwise: `text`,
                `text_pair`, `label`, and the `separator` of several labels.

        Raises:
            UsageError: There is something else.
        """
        with model_folder(folder) as partial, self._bare():
            save_classifier(self.model, self._tokens, self._folder, partial)
            write_label_usage(LabelUsage(**columns, max_tokens=self._max_tokens), partial)


def load_classification(
    name: str | Path,
    labels: LabelSet,
    *,
    revision: str | None = None,
    max_tokens: int = 128,
    dropout: float | None = None,
    seed: int = 42,
    label_smoothing: float = 0.0,
    class_weights: Mapping[str, float] | None = None,
) -> Classification:
    """Load a checkpoint for training, fp32, with a head for the labels.

    Args:
        name: A model folder, a run folder, `package:NAME` or a Hub id.
        labels: The labels, as `split_labelled` gives them.
        revision: Branch, tag or commit of a Hub id.
        max_tokens: Longest text, or pair of texts together, special tokens included; less where
            the model takes less.
        dropout: Replaces the checkpoint's dropout of hidden states.
        seed: Of a new head's random weights.
        label_smoothing: Share of the target's probability that is spread over the labels.
        class_weights: Factor of each label's loss, by name; 1 where a name is missing.

    Raises:
        ModelError: There is no such checkpoint, or it is incomplete.
        HubError: It cannot be fetched.
        DataError: There is no label of a name in `class_weights`.
    """
    folder = resolve_model(str(name), revision=revision)
    tokens = ClassifierTokens(folder)
    loaded = load_classifier(folder, labels, seed=seed, dropout=dropout)
    for note in (loaded.note, set_pad_token(loaded.model, tokens)):
        if note:
            logger.info(note)
    return Classification(
        loaded.model,
        labels,
        tokens,
        folder,
        max_tokens=longest_text(folder, tokens, max_tokens),
        label_smoothing=label_smoothing,
        class_weights=weights_by_label(class_weights, labels) if class_weights else None,
    )
