"""Classify texts: equal ones once, alike lengths together, without padding where possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from attuner.data.features import Ints, LabelledTexts
from attuner.data.labels import Kind, Label, LabelSet, decided, names_in, probabilities
from attuner.errors import UsageError, nearest
from attuner.inference.batches import distinct
from attuner.inference.sharing import ALONE, Sharing, progress_of_all, shared

if TYPE_CHECKING:
    from torch import nn

    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.tasks.classification import ClassificationTask

Logits = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

# Tokens of one forward: enough for full matrix products, few enough for the processor's caches.
_BATCH_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Classified:
    """What a classifier says of a text.

    Attributes:
        label: The label, the labels, or the rating.
        probabilities: The probability of each label, in the model's order; none of ratings.
        logits: The model's outputs behind them.
    """

    label: Label
    probabilities: dict[str, float]
    logits: tuple[float, ...]

    @property
    def in_words(self) -> str:
        """The labels given, likeliest first, with their probabilities; or the rating.

        >>> Classified("good", {"bad": 0.1, "good": 0.9}, (0.0, 2.2)).in_words
        'good (0.90)'
        """
        if isinstance(self.label, float):
            return f"{self.label:.2f}"
        names = sorted(names_in(self.label), key=lambda name: -self.probabilities[name])
        return ", ".join(f"{name} ({self.probabilities[name]:.2f})" for name in names) or "none"


class LabelEngine(Protocol):
    """Gives the outputs of a classifier for token ids.

    Attributes:
        name: What computes, such as `transformers 5.0.0 bfloat16`.
    """

    name: str

    def predict(self, features: LabelledTexts, *, progress: Progress | None = None) -> Logits:
        """The outputs for each row, (N, C); `progress` is told the rows done and in all."""
        ...


class TransformersLabels:
    """A `LabelEngine` over a model in memory, in the number format that it has.

    Args:
        model: With a head for sequences; may be trained further.
        kind: Of its labels.
        pads_left: Whether its rows are filled up on the left.
    """

    def __init__(self, model: nn.Module, kind: Kind, *, pads_left: bool = False) -> None:
        import transformers

        from attuner.tasks.classification import ClassificationTask

        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        self.name = f"transformers {transformers.__version__} {dtype}"
        self._model = model
        self._task = ClassificationTask(model, kind, pads_left=pads_left)

    def predict(self, features: LabelledTexts, *, progress: Progress | None = None) -> Logits:
        """The outputs for each row; see `LabelEngine.predict`."""
        with self._task.prepared(self._model):
            return predict_logits(self._model, self._task, features, progress=progress)


class Classifier:
    """A model that is ready to classify; `load_labels` makes one.

    Args:
        engine: Computes.
        tokens: The model's tokenizer.
        labels: Its labels.
        threshold: For several labels, the probability from which on one is given.
        max_tokens: Longest sequence; longer texts are cut.

    Attributes:
        name: What computes, such as `transformers 5.0.0 bfloat16`.
    """

    def __init__(
        self,
        engine: LabelEngine,
        tokens: ClassifierTokens,
        labels: LabelSet,
        *,
        threshold: float = 0.5,
        max_tokens: int = 512,
    ) -> None:
        self.labels = labels
        self.threshold = threshold
        self.max_tokens = max_tokens
        self.name = engine.name
        self._engine = engine
        self._tokens = tokens

    def classify(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> list[Classified]:
        """The labels of texts, or of pairs of texts.

        Args:
            texts: The texts.
            pairs: The second text of each, for a model of pairs.
            progress: Called with the number of different texts done and their total.

        Raises:
            UsageError: It is given a text, not a list of them.
        """
        logits = self.logits(texts, pairs, progress=progress)
        shares = probabilities(logits, self.labels)
        found = decided(logits, self.labels, threshold=self.threshold)
        return [
            Classified(
                label, dict(zip(self.labels.names, shares[row].tolist(), strict=False)), tuple(out)
            )
            for row, (label, out) in enumerate(zip(found, logits.tolist(), strict=True))
        ]

    def logits(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Logits:
        """The model's outputs, (N, C).

        Raises:
            UsageError: It is given a text, not a list of them.
        """
        if isinstance(texts, str) or isinstance(pairs, str):
            raise UsageError(
                "The classifier was given a text.",
                "It takes a list of texts: of a text it would classify each letter.",
                "Put the text in a list: classify([text]), or classify([text], [second]).",
            )
        if not texts:
            return np.zeros((0, self.labels.num_outputs), np.float32)
        rows = list(zip(texts, pairs, strict=True)) if pairs is not None else list(texts)
        firsts, which = distinct(rows)
        encoded = self._tokens.encode(
            [texts[first] for first in firsts],
            None if pairs is None else [pairs[first] for first in firsts],
            max_tokens=self.max_tokens,
        )
        features = LabelledTexts(
            encoded.tokens,
            encoded.token_types,
            np.zeros(len(firsts)),
            np.ones(len(firsts)),
            np.arange(len(firsts)),
        )
        return self._engine.predict(features, progress=progress)[which]


def predict_logits(
    model: nn.Module,
    task: ClassificationTask,
    features: LabelledTexts,
    *,
    batch_tokens: int = _BATCH_TOKENS,
    computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Progress | None = None,
    sharing: Sharing = ALONE,
) -> Logits:
    """What a model says of the rows, (N, C), in their order; the model's mode is put back.

    Args:
        model: With the task's hooks in place.
        task: Its collate.
        features: The rows, at least one.
        batch_tokens: Tokens of one forward, padding included.
        computing: Makes the block that a forward runs in: the precision of the matrix products.
        progress: Called with the number of rows done and in all.
        sharing: Processes that share the batches; each gets what is said of all rows.
    """
    import torch

    device = next(model.parameters()).device
    tell = progress_of_all(progress, sharing, len(features))

    def predict(batches: Sequence[Ints]) -> list[Logits]:
        parts: list[Logits] = []
        done = 0
        for rows in batches:
            batch = task.collate(features, rows, device)
            with computing():
                parts.append(task.logits(model, batch).float().cpu().numpy())
            done += len(rows)
            if tell is not None:
                tell(done, len(features))
        return parts

    was_training = model.training
    model.eval()
    batches = list(_batches(features.tokens.lengths, batch_tokens, task.is_packed))
    try:
        with torch.no_grad():
            found = np.concatenate(shared(batches, predict, sharing))
    finally:
        model.train(was_training)
    found[np.concatenate(batches)] = found.copy()
    return found


def _batches(lengths: Ints, batch_tokens: int, is_packed: bool) -> Iterator[Ints]:
    """Rows for one forward each, from the shortest to the longest, as `collate` orders them."""
    order = np.argsort(lengths, kind="stable")
    start = total = 0
    for end, length in enumerate(lengths[order].tolist()):
        total = total + length if is_packed else length * (end + 1 - start)
        if total > batch_tokens and end > start:
            yield order[start:end]
            start, total = end, length
    if len(order):
        yield order[start:]


def load_labels(
    model: str | Path, *, precision: str = "auto", revision: str | None = None
) -> Classifier:
    """Load a classifier for use.

    Args:
        model: A model folder, an export, a run folder or a Hub id.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: bf16 where the device is fast at it. Exports
            have their own.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        ModelError: There is no such model, it is incomplete, or it gives no labels.
        UsageError: There is no such precision.
        MissingExtraError: It is an ONNX export, and onnxruntime is not installed.
    """
    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.models.classifier_usage import read_label_usage
    from attuner.models.classifiers import labels_of, threshold_of
    from attuner.models.exports import export_format
    from attuner.models.loading import resolve_model

    if precision not in PRECISIONS:
        raise UsageError(f'There is no precision "{precision}".', nearest(precision, PRECISIONS))
    folder = resolve_model(str(model), revision=revision)
    labels, exported = labels_of(folder), export_format(folder)
    tokens = ClassifierTokens(folder)
    if labels is not None and exported is not None:
        from attuner.inference.onnx_engine import OnnxLabels

        engine: LabelEngine = OnnxLabels(folder, tokens)
        limits = [limit for limit in (read_label_usage(folder).max_tokens, tokens.longest) if limit]
    else:
        engine, limits = _in_memory(folder, tokens, precision)
        assert labels is not None  # or loading had refused
    return Classifier(
        engine,
        tokens,
        labels,
        threshold=threshold_of(folder),
        max_tokens=min(limits, default=512),
    )


def _in_memory(
    folder: Path, tokens: ClassifierTokens, precision: str
) -> tuple[TransformersLabels, list[int]]:
    """A model loaded by transformers, and the limits of a text's length."""
    import torch

    from attuner.models.classifiers import labels_of, load_classifier, set_pad_token
    from attuner.models.precision import resolve_precision

    loaded: Any = load_classifier(folder).model
    labels = labels_of(folder)
    assert labels is not None
    set_pad_token(loaded, tokens)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen, _ = resolve_precision(precision, device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen]
    made = TransformersLabels(loaded.to(device, dtype), labels.kind, pads_left=tokens.pads_left)
    return made, limits_of(folder, tokens, loaded.config)


def limits_of(folder: Path, tokens: ClassifierTokens, config: Any) -> list[int]:
    """The longest text in tokens: as it was tuned, by its tokenizer, by the model's positions.

    Args:
        folder: The model folder.
        tokens: Its tokenizer.
        config: Its configuration, as transformers has it.
    """
    from attuner.models.classifier_usage import read_label_usage
    from attuner.models.encoder_packing import longest_input

    limits = (read_label_usage(folder).max_tokens, tokens.longest, longest_input(config))
    return [limit for limit in limits if limit]
