"""`transformers.Seq2SeqTrainer` that trains as our `Trainer` does and generates by CTranslate2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from attuner.compat.generation import Generator, build_generator, padded_rows, source_rows
from attuner.compat.reasons import against_generation
from attuner.compat.trainer import Trainer


class Seq2SeqTrainer(Trainer, transformers.Seq2SeqTrainer):  # type: ignore[misc]
    """A trainer that drops in; takes what `transformers.Seq2SeqTrainer` takes, and `tokenizer`."""

    _generator: Generator | None = None
    _width = 0

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Evaluate or predict, all rows generated at once; see `transformers.Trainer`."""
        only_loss = (
            self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        )
        given = (description, prediction_loss_only, *more)
        if not self.args.predict_with_generate or only_loss:
            return super().evaluation_loop(dataloader, *given, **options)
        asked = getattr(self, "_gen_kwargs", {})
        generator = against_generation(self) or build_generator(self.model, asked)
        if isinstance(generator, str):
            self._say(f"transformers generates: {generator}.")
            return super().evaluation_loop(dataloader, *given, **options)
        self._width = self._generate_ahead(generator, dataloader)
        self._generator = generator
        try:
            return super().evaluation_loop(dataloader, *given, **options)
        finally:
            self._generator = None

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **options: Any,
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, generated ids and labels; see `transformers.Seq2SeqTrainer.prediction_step`."""
        if self._generator is not None and options:
            self._say(f"transformers generates: prediction_step is given {', '.join(options)}.")
        if self._generator is None or prediction_loss_only or options:
            return super().prediction_step(
                model, inputs, prediction_loss_only, ignore_keys, **options
            )
        rows, loss = self._generator.rows(source_rows(inputs)), None
        generated = padded_rows(rows, self.model.config.pad_token_id, self._width)
        if inputs.get("labels") is not None:
            loss = self._loss_beside_texts(model, inputs)
        labels = self._prepare_inputs(inputs).get("labels")
        return loss, generated.to(self.args.device), labels

    def _loss_beside_texts(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor | None:
        """The model's own loss: where texts are generated, transformers asks for no other."""
        if not self._against_loss():
            return super().prediction_step(model, inputs, True)[0]
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
            if self.label_smoother is not None:
                loss: Tensor = self.label_smoother(outputs, inputs["labels"])
            else:
                loss = outputs["loss"] if isinstance(outputs, dict) else outputs[0]
        return loss.detach().mean()

    def _generate_ahead(self, generator: Generator, dataloader: Any) -> int:
        """Generate for all batches, of which one at a time is held.

        Returns:
            What predictions are filled up to: the longest of all processes. They are tokens for
            sure then, while transformers fills up with -100, which no tokenizer decodes.
        """
        if isinstance(getattr(dataloader, "dataset", None), IterableDataset):
            return generator.most_tokens  # a stream may be there but once
        rows = generator.rows(row for batch in dataloader for row in source_rows(batch))
        longest = torch.tensor(max(map(len, rows), default=1), device=self.args.device)
        return int(self.accelerator.gather(longest).max())
