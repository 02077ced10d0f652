"""A `keras.Model` around a torch model and its task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import torch
from torch import Tensor

from attuner.compat.batches import Taken, take_labels, take_text
from attuner.compat.reasons import kind_of_model
from attuner.compat.spellings import logger
from attuner.errors import UsageError
from attuner.models.loading import let_others_read, quiet_transformers
from attuner.models.objective import IGNORED
from attuner.models.precision import resolve_precision

# What Keras' policies compute in → what Attuner calls it.
_PRECISIONS = {"float16": "fp16", "bfloat16": "bf16"}
_FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16}


class TaskModel(keras.Model):  # type: ignore[misc]
    """A model of text → text, or a classifier of texts, for Keras to train.

    Its batches are those of transformers' collators: `input_ids`, `attention_mask` (B, S) and
    `labels` (B, T), (B,) or (B, C), from a torch `DataLoader`. The loss is that of Attuner's
    tasks: the mean over the batch's real target tokens, or texts, computed on packed rows where
    the model allows it.

    Args:
        module: A model of transformers with weights in fp32. It is trained in place.
        **options: Of `keras.Model`.

    Attributes:
        module: The same model, for everything that transformers can do with it.

    Raises:
        UsageError: The model is of another kind, or its weights are not fp32.
    """

    def __init__(self, module: Any, **options: Any) -> None:
        super().__init__(**options)
        self._kind = kind_of_model(module)
        _require_fitting(module, self._kind)
        self._wrapped = keras.layers.TorchModuleWrapper(module)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self._said: set[str] = set()
        device = next(module.parameters()).device
        asked = _PRECISIONS.get(self.compute_dtype, "fp32")
        self._precision, note = resolve_precision(asked, device, module.config.model_type)
        if note:
            self._say(note)
        self.built = True  # all weights are there

    @property
    def module(self) -> Any:
        """The model of transformers."""
        return self._wrapped.module

    @property
    def metrics(self) -> list[Any]:
        """What `fit` and `evaluate` show."""
        return [self.loss_tracker]

    def compile(self, optimizer: Any = "rmsprop", **options: Any) -> None:
        """Choose the optimizer; see `keras.Model.compile`.

        Raises:
            UsageError: A loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if options.get(name) is not None:
                raise UsageError(
                    f"compile was given {name}.",
                    "The loss is the task's own, made without the outputs that Keras' losses and "
                    "metrics compare.",
                    f"Leave {name} out; for scores give KerasMetricCallback to fit.",
                )
        super().compile(optimizer=optimizer, **options)

    def fit(self, x: Any = None, *more: Any, shuffle: bool = False, **options: Any) -> Any:
        """Train; see `keras.Model.fit`. The order is the loader's, so Keras does not shuffle."""
        return super().fit(x, *more, shuffle=shuffle, **options)

    def train_step(self, data: Mapping[str, Tensor]) -> dict[str, Any]:
        """One update by one padded batch."""
        self.module.train()
        self.module.zero_grad()
        total = torch.zeros((), device=self._device)
        num_targets = 0
        for loss_sum, num_targets in self._summed_losses(data):
            self.optimizer.scale_loss(loss_sum / num_targets).backward()
            total += loss_sum.detach()
        # Some have none, such as tables of positions.
        weights = [w for w in self.trainable_variables if w.value.grad is not None]
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return self._tracked(total, num_targets)

    def test_step(self, data: Mapping[str, Tensor]) -> dict[str, Any]:
        """The loss of one padded batch."""
        self.module.eval()
        found = list(self._summed_losses(data))
        return self._tracked(torch.stack([loss for loss, _ in found]).sum(), found[0][1])

    def predict_step(self, data: Mapping[str, Tensor]) -> Tensor:
        """What a classifier says of each text of a padded batch, (B, C) fp32.

        Raises:
            UsageError: The model makes texts.
        """
        if self._kind == "text":
            raise UsageError(
                "predict was called on a model of text to text.",
                "It gives arrays of one shape; texts have lengths of their own.",
                "Call model.module.generate(...), or for many texts attuner.load(FOLDER).",
            )
        self.module.eval()
        inputs = {name: value for name, value in self._on_device(data).items() if name != "labels"}
        with self._number_format():
            return self.module(**inputs).logits.float()  # type: ignore[no-any-return]

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write a model folder, which transformers, Attuner and the Hub know.

        Args:
            folder: Where to. Other files in it stay.
            tokenizer: Is saved beside the model.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".saving-", dir=place) as partial, quiet_transformers():
            for part in filter(None, (self.module, tokenizer)):
                part.save_pretrained(partial)
            let_others_read(Path(partial))
            for file in [path for path in Path(partial).rglob("*") if path.is_file()]:
                target = place / file.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)

    def save(self, *args: Any, **options: Any) -> None:
        """Refused, as `get_config` is.

        Raises:
            UsageError: Always.
        """
        self.get_config()

    def get_config(self) -> dict[str, Any]:
        """Refused: it would be a pickle of the torch module.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "A model of transformers was to be saved in Keras' own format.",
            "A .keras file holds it as a pickle, which can run code where it is loaded.",
            "Call save_pretrained(FOLDER), or give save_weights_only=True to ModelCheckpoint.",
        )

    def _summed_losses(self, data: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, int]]:
        """Of each piece of a batch the summed loss, and the targets of the whole batch."""
        take = take_text if self._kind == "text" else take_labels
        taken = take(self.module, data, label_smoothing=0.0, may_cut=True)
        if isinstance(taken, str):
            self._say(f"transformers computes the loss: {taken}.")
            inputs = self._on_device(data)
            labels = inputs["labels"]
            num_targets = int(labels.ne(IGNORED).sum()) if self._kind == "text" else len(labels)
            with self._number_format():
                loss = self.module(**inputs).loss * num_targets
            yield loss, num_targets
            return
        for rows in taken.pieces:
            yield self._loss_of(replace(taken, pieces=(rows,))), taken.num_targets

    def _loss_of(self, taken: Taken) -> Tensor:
        batch = taken.task.collate(taken.features, taken.pieces[0], self._device)  # type: ignore[arg-type]
        with self._number_format(), taken.task.prepared(self.module):
            return taken.task.loss(self.module, batch)

    def _tracked(self, loss_sum: Tensor, num_targets: int) -> dict[str, Any]:
        """The mean over all targets of the epoch so far."""
        self.loss_tracker.update_state(loss_sum / num_targets, sample_weight=num_targets)
        return {"loss": self.loss_tracker.result()}

    @contextmanager
    def _number_format(self) -> Iterator[None]:
        """Matrix products in the format of Keras' policy, which itself stops at Keras' layers."""
        if self._precision == "fp32":
            yield
            return
        with torch.autocast(self._device.type, dtype=_FORMATS[self._precision]):
            yield

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device  # type: ignore[no-any-return]

    def _on_device(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self._device) for name, value in data.items()}

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.warning(line)


def _require_fitting(module: Any, kind: str) -> None:
    """Refuse what cannot be trained."""
    if not kind:
        raise UsageError(
            f"TaskModel was given a {type(module).__name__}.",
            "Expected a model of transformers that makes text of text, or a classifier of texts.",
            "Load it with AutoModelForSeq2SeqLM or AutoModelForSequenceClassification.",
        )
    others = {p.dtype for p in module.parameters() if p.dtype != torch.float32}
    if others:
        name = str(min(others, key=str)).removeprefix("torch.")
        raise UsageError(
            f"TaskModel was given weights in {name}.",
            "Updates are too small for it: weights are kept in fp32, whatever they compute in.",
            'Load the model with from_pretrained(MODEL, dtype="float32").',
        )
