"""Scores of text → text: token loss, and the metrics of what is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from attuner.data.splitting import normalised
from attuner.evaluation.own_metrics import NUM_RESAMPLES, OwnMetric
from attuner.training.events import Compared, Comparison, Event, Progressed
from attuner.training.hooks import TaskHooks
from attuner.training.processes import Processes
from attuner.training.scorer import Scored
from attuner.training.scoring import (
    GenerationOptions,
    Part,
    generated_scores,
    token_loss,
    with_loss,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attuner.models.codec import TextCodec
    from attuner.tasks.task import Task

_SHOWN = 8


class TextJudge:
    """Scores translations, and other generated texts; a `Judge`.

    Args:
        model: As it is trained, wrapped.
        raw_model: The bare one, which generates.
        task: Collate and loss.
        hooks: The task's, which are taken out while the model generates.
        codec: The tokens.
        parts: What is scored, by name.
        options: How to generate.
        own: Metrics of the user's own.
        device: Where the model is.
        computing: Makes the block that a forward of the token loss runs in.
        batch_examples: Rows in one forward of the token loss.
        processes: Who shares the work.
        emit: Is told of progress.
    """

    def __init__(
        self,
        model: nn.Module,
        raw_model: nn.Module,
        task: Task,
        hooks: TaskHooks,
        codec: TextCodec,
        parts: Mapping[str, Part],
        options: GenerationOptions,
        own: Sequence[OwnMetric] = (),
        *,
        device: torch.device,
        computing: Callable[[], AbstractContextManager[None]],
        batch_examples: int,
        processes: Processes,
        emit: Callable[[Event], None],
    ) -> None:
        self._model = model
        self._raw_model = raw_model
        self._task = task
        self._hooks = hooks
        self._codec = codec
        self._parts = parts
        self._options = options
        self._own = own
        self._device = device
        self._computing = computing
        self._batch_examples = batch_examples
        self._processes = processes
        self._emit = emit

    def score(self, part: str, *, in_full: bool) -> Scored:
        """Token loss and the metrics of what the model generates; own ones have intervals."""
        loss = token_loss(
            self._model,
            self._task,
            self._parts[part].features,
            self._device,
            batch_examples=self._batch_examples,
            computing=self._computing,
            sharing=self._processes,
        )
        with self._hooks.taken_out():
            found = generated_scores(
                self._raw_model,
                self._codec,
                self._parts[part].examples,
                self._options,
                functions=self._own,
                num_resamples=NUM_RESAMPLES if in_full else 0,
                progress=lambda done, total: self._emit(Progressed(f"scoring {part}", done, total)),
                sharing=self._processes,
            )
        signatures = {**found.signatures, "engine": found.engine}
        return Scored(with_loss(found.scores, loss), signatures, found.predictions, found.intervals)

    def settle(self) -> None:
        """Nothing is delivered beside the weights."""

    def rows(
        self, part: str, before: Sequence[str], after: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """Sources and references with what was made of them."""
        return [
            {
                "source": example.source,
                "references": list(example.references),
                "before": before[index],
                "after": after[index] if after else None,
                "address": str(example.address),
            }
            for index, example in enumerate(self._parts[part].examples)
        ]

    def compared(
        self, part: str, before: Sequence[str], after: Sequence[str]
    ) -> Iterator[Compared]:
        """What changed: those entries first that came most nearer to their reference."""
        from attuner.evaluation.report import sentence_gains

        examples = self._parts[part].examples
        gains = sentence_gains(before, after, [example.references for example in examples])
        nearer = sorted((i for i, gain in enumerate(gains) if gain > 0), key=lambda i: -gains[i])
        shown: dict[str, int] = {}
        for i in nearer:  # "Open..." and "Open…" once
            shown.setdefault(normalised(examples[i].source), i)
        yield Compared(
            rows=tuple(
                Comparison(examples[i].source, before[i], after[i], examples[i].references[0])
                for i in list(shown.values())[:_SHOWN]
            ),
            num_examples=len(gains),
            num_changed=sum(old != new for old, new in zip(before, after, strict=True)),
            num_nearer=len(nearer),
            num_further=sum(gain < 0 for gain in gains),
        )
