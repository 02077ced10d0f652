"""Generation by transformers' own `generate`: the reference, and for what CTranslate2 lacks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attuner.inference.batches import batches_by_length, decoder_start, distinct, target_starts
from attuner.inference.engine import Hypothesis
from attuner.inference.settings import GenerationSettings, settings_of_model
from attuner.models.codec import TextCodec
from attuner.models.languages import require_target

if TYPE_CHECKING:
    import torch
    from torch import nn

# Logits are target tokens x vocabulary: 1,024 x 60,000 in fp32 are 0.25 GB.
_SCORED_TOKENS = 1024


class TransformersEngine:
    """An `Engine` over a model in memory, in the number format that it has.

    Args:
        model: An encoder-decoder model of transformers, unwrapped. Its mode is put back after
            each call.
        codec: The model's tokenizer.
        settings: How to generate; the model's own where not given.
    """

    def __init__(
        self, model: nn.Module, codec: TextCodec, *, settings: GenerationSettings | None = None
    ) -> None:
        import transformers

        self._model: Any = model
        self.codec = codec
        self.settings = settings or settings_of_model(model)
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        self.name = f"transformers {transformers.__version__} {dtype}"

    def between(self, source: str | None, target: str | None) -> TransformersEngine:
        """The same loaded model for texts of two languages; see `Engine.between`."""
        made = copy.copy(self)
        made.codec = self.codec.between(source, target)
        return made

    def generate(
        self,
        lines: Sequence[str],
        *,
        num_beams: int = 4,
        max_new_tokens: int = 128,
        num_hypotheses: int = 1,
        target_prefixes: Sequence[str] | None = None,
        max_source_tokens: int = 512,
        batch_tokens: int = 4096,
    ) -> list[list[Hypothesis]]:
        """Translate lines; see `Engine.generate`."""
        require_target(self.codec.languages, self.codec.pair)
        prefixes = target_prefixes or [""] * len(lines)
        firsts, which = distinct(list(zip(lines, prefixes, strict=True)))
        limit = self.settings.within_positions(max_source_tokens)
        ids = self.codec.encode_source([lines[i] for i in firsts])
        sources = ids.cut(limit, self.codec.num_source_ends).to_lists()
        starts = target_starts(self.codec, [prefixes[i] for i in firsts], self.settings)
        results: list[list[Hypothesis]] = [[] for _ in sources]
        with self._evaluating():
            for batch in _batches(sources, starts, batch_tokens):
                made = self._generate_batch(
                    [sources[i] for i in batch],
                    [starts[i] for i in batch],
                    num_beams=num_beams,
                    num_hypotheses=num_hypotheses,
                    max_new_tokens=self.settings.within_positions(max_new_tokens),
                )
                for place, hypotheses in zip(batch, made, strict=True):
                    results[place] = hypotheses
        return [list(results[i]) for i in which]

    def score(self, lines: Sequence[str], targets: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each target given its line, in nats, end token included.

        Args:
            lines: Source lines.
            targets: Target token ids without start and end token.
        """
        sources = self.codec.encode_source(lines).to_lists()
        ended = [[*target, self.codec.eos_token_id] for target in targets]
        with self._evaluating():
            return self._score(sources, ended, [0] * len(ended))

    def _generate_batch(
        self,
        sources: list[list[int]],
        starts: list[list[int]],
        *,
        num_beams: int,
        num_hypotheses: int,
        max_new_tokens: int,
    ) -> list[list[Hypothesis]]:
        settings = self.settings
        input_ids, attention_mask = self._padded(sources)
        prompt = [[decoder_start(self.codec, settings), *start] for start in starts]
        num_new = max(max_new_tokens - len(starts[0]), 1)
        output = self._model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=self._padded(prompt)[0],
            generation_config=self._generation_config(
                num_beams=num_beams,
                num_return_sequences=num_hypotheses,
                max_length=len(prompt[0]) + num_new,
                return_dict_in_generate=True,
                output_scores=num_beams > 1,
            ),
        )
        skip = len(prompt[0])
        rows = [self._until_end(row[skip:]) for row in output.sequences.tolist()]
        repeated = [i for i in range(len(sources)) for _ in range(num_hypotheses)]
        ended = [[*starts[i], *row] for i, row in zip(repeated, rows, strict=True)]
        if num_beams > 1:
            scores = [
                score * float(len(row)) ** settings.length_penalty
                for row, score in zip(rows, output.sequences_scores.tolist(), strict=True)
            ]
        else:
            # At the limit the end token is forced: it has no probability of its own.
            scored = [row[:-1] if len(row) == len(starts[0]) + num_new else row for row in ended]
            scores = self._score(
                [sources[i] for i in repeated], scored, [len(starts[i]) for i in repeated]
            )
        special = (self.codec.eos_token_id, self.codec.pad_token_id)
        ids = [[i for i in row if i not in special] for row in ended]
        made = [
            Hypothesis(text, tuple(row), score)
            for text, row, score in zip(self.codec.decode(ids), ids, scores, strict=True)
        ]
        return [made[i : i + num_hypotheses] for i in range(0, len(made), num_hypotheses)]

    def _generation_config(self, **chosen: Any) -> Any:
        """The model's own, with what both engines share made explicit."""
        settings = self.settings
        config = copy.deepcopy(self._model.generation_config)
        for name, value in chosen.items():
            setattr(config, name, value)
        config.max_new_tokens = None  # max_length is given; with both, transformers warns
        config.do_sample = False
        config.forced_eos_token_id = self.codec.eos_token_id
        config.forced_bos_token_id = None  # part of the prompt
        config.decoder_start_token_id = decoder_start(self.codec, settings)
        config.length_penalty = settings.length_penalty
        config.min_length = settings.min_length
        config.no_repeat_ngram_size = settings.no_repeat_ngram_size
        config.repetition_penalty = settings.repetition_penalty
        config.bad_words_ids = [list(word) for word in settings.bad_words_ids] or None
        return config

    def _score(
        self, sources: list[list[int]], targets: list[list[int]], skip: list[int]
    ) -> list[float]:
        """Sums of log-probabilities of targets, without the first `skip` tokens of each."""
        import torch

        start = decoder_start(self.codec, self.settings)
        scores = [0.0] * len(targets)
        lengths = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
        for batch in batches_by_length(lengths, _SCORED_TOKENS):
            input_ids, attention_mask = self._padded([sources[i] for i in batch])
            labels, is_real = self._padded([targets[i] for i in batch])
            inputs, _ = self._padded([[start, *targets[i][:-1]] for i in batch])
            logits = self._model(
                input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=inputs
            ).logits.float()
            chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
            log_probabilities = chosen - torch.logsumexp(logits, -1)
            places = torch.arange(labels.shape[1], device=labels.device)
            first = torch.tensor([skip[i] for i in batch], device=labels.device)
            counted = is_real.bool() & (places >= first.unsqueeze(-1))
            sums = log_probabilities.masked_fill(~counted, 0.0).sum(-1).tolist()
            for place, value in zip(batch, sums, strict=True):
                scores[place] = value
        return scores

    def _until_end(self, row: list[int]) -> list[int]:
        """Generated ids up to and with the end token; what follows is padding."""
        eos = self.codec.eos_token_id
        return row[: row.index(eos) + 1] if eos in row else row

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [B, longest] and the mask of what is real."""
        import torch

        longest = max(map(len, rows))
        pad = self.codec.pad_token_id
        device = self._model.device
        ids = [[*row, *[pad] * (longest - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; the model's mode is put back."""
        import torch

        was_training = self._model.training
        self._model.eval()
        try:
            # Not inference_mode: positions that a model caches would be unfit for training then.
            with torch.no_grad():
                yield
        finally:
            self._model.train(was_training)


def _batches(
    sources: list[list[int]], starts: list[list[int]], batch_tokens: int
) -> Iterator[list[int]]:
    """Batches by source length; the targets of one begin with equally many tokens."""
    by_start: dict[int, list[int]] = {}
    for place, start in enumerate(starts):
        by_start.setdefault(len(start), []).append(place)
    for places in by_start.values():
        for batch in batches_by_length([len(sources[i]) for i in places], batch_tokens):
            yield [places[i] for i in batch]
