"""`transformers.Trainer` with Attuner's batches, loss and number format.

Loop, arguments, callbacks, checkpoints and pushes are transformers' own. Three things are done
otherwise, each only where it can be, and left to transformers with a logged reason elsewhere: the
loss of a batch, computed on packed rows and at real positions only (`training_step`); the
optimizer, on a processor, whose forward and backward use bf16 copies; and the forward of
evaluation (`prediction_step`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from attuner.compat.batches import Taken, take_labels, take_text
from attuner.compat.optimization import TrainerAdamW
from attuner.compat.reasons import against_loss, against_optimizer, kind_of_model
from attuner.compat.spellings import logger
from attuner.models.precision import resolve_precision
from attuner.tasks.classification import ClassificationTask


class Trainer(transformers.Trainer):  # type: ignore[misc]
    """A trainer that drops in; takes what `transformers.Trainer` takes, and `tokenizer`."""

    optimizer: Any

    def __init__(self, *args: Any, **given: Any) -> None:
        if "tokenizer" in given:
            logger.warning("tokenizer is called processing_class today.")
            given.setdefault("processing_class", given.pop("tokenizer"))
        self._taken: Taken | None = None
        self._said: set[str] = set()
        self._loss_reason: tuple[Any, str] | None = None
        # Wanted before transformers keeps them, when the number format is chosen.
        known = signature(super().__init__).bind_partial(*args, **given).arguments
        self.compute_loss_func = known.get("compute_loss_func")
        self.optimizer_cls_and_kwargs = known.get("optimizer_cls_and_kwargs")
        self._brings_optimizer = (known.get("optimizers") or (None,))[0] is not None
        super().__init__(*args, **given)

    @property
    def tokenizer(self) -> Any:
        """What `processing_class` was called."""
        return self.processing_class

    def training_step(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward of a batch; see `transformers.Trainer.training_step`."""
        taken = self._take(inputs)
        if taken is None:
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
            weights = self._own_weights()
            if weights is not None:
                weights.collect()
            return loss
        losses = []
        with self._computing(), taken.task.prepared(self.model):
            for piece in taken.pieces:  # each with a backward pass of its own
                with self._at_hand(replace(taken, pieces=(piece,))):
                    losses.append(super().training_step(model, inputs, num_items_in_batch))
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over the update's real targets; see `transformers.Trainer.compute_loss`."""
        taken = self._taken
        if taken is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        total = self._summed_loss(model, taken)
        if num_items_in_batch is None:
            return total / taken.num_targets
        # transformers counts labels, of which a text may have several.
        per_target = inputs["labels"].ne(-100).sum() / taken.num_targets
        loss = total * (per_target / num_items_in_batch)
        shares = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return loss * shares

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **options: Any,
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, logits and labels; see `transformers.Trainer.prediction_step`."""
        is_wanted = prediction_loss_only or self._gives_logits_alone()
        taken = self._take(inputs) if is_wanted and "labels" in inputs else None
        if taken is None:
            found: tuple[Tensor | None, Any, Any] = super().prediction_step(
                model, inputs, prediction_loss_only, ignore_keys, **options
            )
            return found
        with torch.no_grad(), self._computing(), taken.task.prepared(self.model):
            if prediction_loss_only:
                return self._summed_loss(model, taken) / taken.num_targets, None, None
            logits = self._logits(model, taken)
        assert isinstance(taken.task, ClassificationTask)
        labels = inputs["labels"].to(logits.device)
        targets = torch.from_numpy(taken.features.targets).to(logits.device)  # type: ignore[union-attr]
        smoothing = self.args.label_smoothing_factor
        loss = taken.task.loss_of(logits, targets, label_smoothing=smoothing) / taken.num_targets
        return loss, logits, labels

    def create_optimizer(self, *model: Any) -> torch.optim.Optimizer:
        """AdamW; see `transformers.Trainer.create_optimizer`."""
        if self.optimizer is not None or self._against_loss():
            return super().create_optimizer(*model)  # type: ignore[no-any-return]
        reason = against_optimizer(self)
        if reason:
            logger.info("transformers' optimizer is used: %s.", reason)
            return super().create_optimizer(*model)  # type: ignore[no-any-return]
        from attuner.training.memory import reuse_freed_memory

        reuse_freed_memory()
        decayed = set(self.get_decay_parameter_names(self.model))
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = TrainerAdamW(
            [
                {
                    "params": [p for n, p in named if (n in decayed) == is_decayed],
                    "weight_decay": self.args.weight_decay if is_decayed else 0.0,
                }
                for is_decayed in (True, False)
            ],
            learning_rate=self.args.learning_rate,
            betas=(self.args.adam_beta1, self.args.adam_beta2),
            eps=self.args.adam_epsilon,
            computes_in=torch.bfloat16 if self._has_copies() else None,
            frozen=[p for p in self.model.parameters() if not p.requires_grad],
        )
        return self.optimizer  # type: ignore[no-any-return]

    def _build_accelerator_args(self, **given: Any) -> dict[str, Any]:
        made: dict[str, Any] = super()._build_accelerator_args(**given)
        if self.model is None:  # it is made later, by model_init
            return made
        is_ours = not against_loss(self)
        if is_ours or getattr(self.args, "precision", "auto") != "auto":
            precision = self._precision()
            has_copies = is_ours and self._has_copies()
            made["mixed_precision"] = "no" if precision == "fp32" or has_copies else precision
        return made

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        weights = self._own_weights()
        if weights is None:
            return super()._clip_grad_norm(model)
        return weights.clip_to(self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        weights = self._own_weights()
        if weights is not None and grad_norm is None:
            return weights.clip_to(float("inf"))
        return super()._get_grad_norm(model, grad_norm=grad_norm)

    def _gives_logits_alone(self) -> bool:
        """Whether the model is a classifier, and nothing else of its outputs is asked for."""
        if kind_of_model(self.model) != "label":
            return False
        config = self.model.config
        return not (config.output_hidden_states or config.output_attentions)

    def _summed_loss(self, model: nn.Module, taken: Taken) -> Tensor:
        """The loss summed over the batch's targets, in fp32."""
        total: Tensor | None = None
        for rows in taken.pieces:
            batch = taken.task.collate(taken.features, rows, self.args.device)  # type: ignore[arg-type]
            loss = self._smoothed_as_transformers(model, taken, batch)
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def _smoothed_as_transformers(self, model: nn.Module, taken: Taken, batch: Any) -> Tensor:
        """Transformers smooths labels in evaluation, too; our tasks only where a model trains."""
        smoothing = self.args.label_smoothing_factor
        if model.training or not smoothing:
            return taken.task.loss(model, batch)
        if isinstance(taken.task, ClassificationTask):
            logits = taken.task.logits(model, batch)
            return taken.task.loss_of(logits, batch["targets"], label_smoothing=smoothing)
        output = model(**batch, use_cache=False, label_smoothing=smoothing)
        return output.loss  # type: ignore[no-any-return]

    def _logits(self, model: nn.Module, taken: Taken) -> Tensor:
        """What a classifier says of each text, (B, C) fp32, in the batch's own order."""
        assert isinstance(taken.task, ClassificationTask)
        found = []
        for rows in taken.pieces:
            rows = rows[np.argsort(taken.features.source_lengths[rows], kind="stable")]
            batch = taken.task.collate(taken.features, rows, self.args.device)  # type: ignore[arg-type]
            found.append((rows, taken.task.logits(model, batch).float()))
        order = np.concatenate([rows for rows, _ in found])
        logits = torch.cat([part for _, part in found])
        return logits[torch.from_numpy(np.argsort(order)).to(logits.device)]

    def _take(self, inputs: Mapping[str, Any]) -> Taken | None:
        """The batch, where Attuner can compute it; else a line says once why not."""
        if self._against_loss():
            return None
        take = take_text if kind_of_model(self.model) == "text" else take_labels
        taken = take(
            self.model,
            inputs,
            label_smoothing=self.args.label_smoothing_factor,
            may_cut=self.args.world_size == 1,
        )
        if isinstance(taken, str):
            self._say(f"transformers computes the loss: {taken}.")
            return None
        return taken

    def _against_loss(self) -> str:
        """Why transformers computes the loss of all batches, said once for each model."""
        if self._loss_reason is None or self._loss_reason[0] is not self.model:
            self._loss_reason = self.model, against_loss(self)
            if self._loss_reason[1]:
                self._say(f"transformers computes the loss: {self._loss_reason[1]}.")
        return self._loss_reason[1]

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.warning(line)

    def _precision(self) -> str:
        """`fp32`, `bf16` or `fp16`."""
        args = self.args
        asked = "bf16" if args.bf16 else "fp16" if args.fp16 else getattr(args, "precision", "auto")
        family = str(getattr(getattr(self.model, "config", None), "model_type", ""))
        precision, note = resolve_precision(asked, args.device, family)
        if note:
            self._say(note)
        return precision

    def _has_copies(self) -> bool:
        """Whether forward and backward use bf16 copies of the weights."""
        is_alone = self.args.device.type == "cpu" and self.args.world_size == 1
        is_ours = not self._brings_optimizer and not against_optimizer(self)
        return is_alone and is_ours and self._precision() == "bf16"

    def _own_weights(self) -> TrainerAdamW | None:
        """Our optimizer, inside of accelerate's; None where another one is used."""
        bare = getattr(self.optimizer, "optimizer", self.optimizer)
        return bare if isinstance(bare, TrainerAdamW) else None

    def _computing(self) -> AbstractContextManager[None]:
        weights = self._own_weights()
        return nullcontext() if weights is None else weights.computing()

    @contextmanager
    def _at_hand(self, taken: Taken) -> Iterator[None]:
        self._taken = taken
        try:
            yield
        finally:
            self._taken = None
