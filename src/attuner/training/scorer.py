"""Scores of a run's validation and test examples, and its translations before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.data.splitting import normalised
from attuner.training.events import Compared, Comparison, Evaluated, Event, Progressed
from attuner.training.folder import write_lines
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

    from attuner.evaluation.evaluate import Evaluation
    from attuner.models.codec import TextCodec
    from attuner.tasks.task import Task

Scores = tuple[Mapping[str, float], Mapping[str, str]]

_SHOWN = 8


class Scorer:
    """Scores the model of a run, whatever weights it has just now.

    Args:
        model: As it is trained, wrapped.
        raw_model: The bare one, which generates.
        task: Collate and loss.
        codec: The tokens.
        parts: What is scored, by name.
        options: How to generate.
        device: Where the model is.
        computing: Makes the block that a forward of the token loss runs in.
        batch_examples: Rows in one forward of the token loss.
        translations: The file that the final part's translations are kept in.
        emit: Is told of progress and results.
    """

    def __init__(
        self,
        model: nn.Module,
        raw_model: nn.Module,
        task: Task,
        codec: TextCodec,
        parts: Mapping[str, Part],
        options: GenerationOptions,
        *,
        device: torch.device,
        computing: Callable[[], AbstractContextManager[None]],
        batch_examples: int,
        translations: Path,
        emit: Callable[[Event], None],
    ) -> None:
        self._model = model
        self._raw_model = raw_model
        self._task = task
        self._codec = codec
        self._parts = parts
        self._options = options
        self._device = device
        self._computing = computing
        self._batch_examples = batch_examples
        self._translations = translations
        self._emit = emit
        self._hooks = ExitStack()

    @property
    def final(self) -> str:
        """The part that the final scores are on: test, else validation, else none."""
        return next((name for name in ("test", "validation") if name in self._parts), "")

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Keep the task's hooks in the model, except while it generates."""
        with self._hooks:
            self._hook()
            yield

    def before(self) -> None:
        """Score the untuned model on all parts, and keep its translations of the final one."""
        if self._translations.is_file():  # a resumed run knows them
            return
        predictions: Sequence[str] = ()
        for name in self._parts:
            (scores, signatures), predictions = self._score(name)
            self._emit(Evaluated("before", name, 0, 0.0, scores, signatures))
        if predictions:  # of the last part, which is the final one
            self._keep(predictions, None)

    def now(self, name: str) -> Scores:
        """Scores of a part, and their signatures."""
        return self._score(name)[0]

    def after(self, step: int, epoch: float) -> None:
        """Score the delivered weights on the final part, and show what changed."""
        if not self.final:
            return
        (scores, signatures), predictions = self._score(self.final)
        self._emit(Evaluated("after", self.final, step, epoch, scores, signatures))
        lines = self._translations.read_text(encoding="utf-8").splitlines()
        untuned = [json.loads(line)["before"] for line in lines]
        self._keep(untuned, predictions)
        self._emit(self._compared(untuned, predictions))

    def _score(self, name: str) -> tuple[Scores, Sequence[str]]:
        """Scores of a part, and its translations; random states are left as they were."""
        import torch

        part = self._parts[name]
        with torch.random.fork_rng(enabled=True):
            loss = token_loss(
                self._model,
                self._task,
                part.features,
                self._device,
                batch_examples=self._batch_examples,
                computing=self._computing,
            )
            found = self._generate(name)
        signatures = {**found.signatures, "engine": found.engine}
        return (with_loss(found.scores, loss), signatures), found.predictions

    def _generate(self, name: str) -> Evaluation:
        self._hooks.close()
        try:
            return generated_scores(
                self._raw_model,
                self._codec,
                self._parts[name].examples,
                self._options,
                progress=lambda done, total: self._emit(Progressed(f"scoring {name}", done, total)),
            )
        finally:
            self._hook()

    def _hook(self) -> None:
        self._hooks.enter_context(self._task.prepared(self._raw_model))

    def _keep(self, before: Sequence[str], after: Sequence[str] | None) -> None:
        rows = [
            {
                "source": example.source,
                "references": list(example.references),
                "before": before[index],
                "after": after[index] if after else None,
                "address": str(example.address),
            }
            for index, example in enumerate(self._parts[self.final].examples)
        ]
        write_lines(self._translations, rows)

    def _compared(self, before: Sequence[str], after: Sequence[str]) -> Compared:
        """What changed: those entries first that came most nearer to their reference."""
        from attuner.evaluation.report import sentence_gains

        examples = self._parts[self.final].examples
        gains = sentence_gains(before, after, [example.references for example in examples])
        nearer = sorted((i for i, gain in enumerate(gains) if gain > 0), key=lambda i: -gains[i])
        shown: dict[str, int] = {}
        for i in nearer:  # "Open..." and "Open…" once
            shown.setdefault(normalised(examples[i].source), i)
        return Compared(
            rows=tuple(
                Comparison(examples[i].source, before[i], after[i], examples[i].references[0])
                for i in list(shown.values())[:_SHOWN]
            ),
            num_examples=len(gains),
            num_changed=sum(old != new for old, new in zip(before, after, strict=True)),
            num_nearer=len(nearer),
            num_further=sum(gain < 0 for gain in gains),
        )
