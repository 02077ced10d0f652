"""`transformers.Seq2SeqTrainer` that trains as our `Trainer` does and generates by CTranslate2."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from attuner.compat.generation import generate_rows, search_of
from attuner.compat.reasons import against_generation
from attuner.compat.trainer import Trainer
from attuner.inference.conversion import ConversionError


class Seq2SeqTrainer(Trainer, transformers.Seq2SeqTrainer):  # type: ignore[misc]
    """A trainer that drops in; takes what `transformers.Seq2SeqTrainer` takes, and `tokenizer`."""

    _generated: deque[Tensor] | None = None

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
        reason = against_generation(self)
        search = search_of(self.model, getattr(self, "_gen_kwargs", {}))
        if reason or isinstance(search, str):
            self._say(f"transformers generates: {reason or search}.")
            return super().evaluation_loop(dataloader, *given, **options)

        def generate(batches: list[Any]) -> None:
            sources = [row for batch in batches for row in _rows(batch)]
            try:
                rows = generate_rows(self.model, sources, search)
            except ConversionError as error:
                self._say(f"transformers generates: {error.happened.rstrip('.')}.")
                return
            padded = self._padded(rows)
            sizes = [len(batch["input_ids"]) for batch in batches]
            self._generated = deque(torch.split(padded, sizes))

        try:
            return super().evaluation_loop(_Ahead(dataloader, generate), *given, **options)
        finally:
            self._generated = None

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **options: Any,
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, generated ids and labels; see `transformers.Seq2SeqTrainer.prediction_step`."""
        if self._generated is None or prediction_loss_only:
            return super().prediction_step(
                model, inputs, prediction_loss_only, ignore_keys, **options
            )
        generated, loss = self._generated.popleft(), None
        if "labels" in inputs:
            loss, _, _ = super().prediction_step(model, inputs, True, ignore_keys)
        return loss, generated, self._prepare_inputs(inputs).get("labels")

    def _padded(self, rows: list[list[int]]) -> Tensor:
        """Generated rows, filled up to the longest of all processes."""
        device = self.args.device
        longest = torch.tensor(max(map(len, rows), default=1), device=device)
        width = int(self.accelerator.gather(longest).max())
        padded = torch.full((len(rows), width), self.model.config.pad_token_id, device=device)
        for row, ids in zip(padded, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, device=device)
        return padded


class _Ahead:
    """A loader whose batches are all read, and shown to `look`, before the first is handed out."""

    def __init__(self, loader: Any, look: Callable[[list[Any]], None]) -> None:
        self._loader = loader
        self._look = look

    def __iter__(self) -> Iterator[Any]:
        batches = list(self._loader)
        if batches:
            self._look(batches)
        yield from batches

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _rows(batch: Mapping[str, Tensor]) -> list[list[int]]:
    """The real source ids of each row."""
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if mask is None:
        return ids.tolist()
    return [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)]
