"""Generation by CTranslate2: many times faster than transformers on CPU and GPU.

Importing `ctranslate2` 4.8.5 imports neither torch nor transformers (4.7 did); its converters do.
They are reached only from `attuner.inference.conversion`, so that a converted model starts in a
fraction of a second.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import ModelError
from attuner.inference.batches import decoder_start, distinct, target_starts
from attuner.inference.engine import Hypothesis
from attuner.inference.settings import GenerationSettings, settings_of_model
from attuner.models.codec import TextCodec
from attuner.models.languages import require_target

if TYPE_CHECKING:
    from torch import nn

# CTranslate2 ends a beam search when `num_beams * patience` hypotheses are complete, transformers
# when no running one promises to beat those it keeps. Over 2,000 KDE strings at beam 4, patience 1
# chose the same as transformers for 95 % of them and hypotheses of lower log-probability a token
# (-0.3031 against -0.2983), patience 2 for 99.2 % (-0.2982), at 1.4 times the time; from 3 on,
# endless repetitions begin to win.
_PATIENCE = 2.0

# Larger batches are not quicker on a CPU, and leave cores without work: 512 tokens against 1,024
# took 4 % off the time of scoring 500 strings.
_BATCH_TOKENS = 512

# The hypotheses of a source as ids without end token, and the score of each.
Found = tuple[list[list[int]], list[float]]


class CTranslate2Engine:
    """An `Engine` over a converted model.

    Args:
        folder: What `convert` wrote.
        codec: The tokenizer of the model that was converted.
        quantization: Number format to compute in: `float32`, `int8` or another type that
            CTranslate2 knows.
        threads: Batches generated at once, one thread each; 0 takes OMP_NUM_THREADS or, where it
            is not set, the number of cores, at most 8.
        settings: What the checkpoint says of generation.

    Raises:
        ModelError: The folder holds no converted model, or the processor cannot compute in the
            quantization asked for.
    """

    def __init__(
        self,
        folder: Path,
        codec: TextCodec,
        *,
        quantization: str = "float32",
        threads: int = 0,
        settings: GenerationSettings | None = None,
    ) -> None:
        import ctranslate2

        try:
            with _torch_threads_kept():
                self._translator: Any = ctranslate2.Translator(
                    str(folder),
                    compute_type=quantization,
                    # One thread a batch, several batches: two threads in one batch wait for each
                    # other at every product. On two busy cores that took 20 times as long.
                    inter_threads=threads or num_cores(),
                    intra_threads=1,
                )
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{folder}: CTranslate2 cannot load it: {error}",
                f"A folder that CTranslate2 {ctranslate2.__version__} converted, and a number "
                "format that this processor knows.",
            ) from error
        self.name = f"ctranslate2 {ctranslate2.__version__} {quantization}"
        self.settings = settings or GenerationSettings()
        self.codec = codec
        self._takes_start = _is_without_start(folder)
        self._source_tokens = _vocabulary(folder, "source")
        self._target_tokens = _vocabulary(folder, "target")
        self._target_ids = {token: i for i, token in enumerate(self._target_tokens)}

    def between(self, source: str | None, target: str | None) -> CTranslate2Engine:
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
        settings = self.settings
        max_new_tokens = settings.within_positions(max_new_tokens)
        max_source_tokens = settings.within_positions(max_source_tokens)
        prefixes = target_prefixes or [""] * len(lines)
        firsts, which = distinct(list(zip(lines, prefixes, strict=True)))
        ids = self.codec.encode_source([lines[place] for place in firsts])
        ids = ids.cut(max_source_tokens, self.codec.num_source_ends)
        starts = target_starts(self.codec, [prefixes[place] for place in firsts], settings)
        found = self.generate_ids(
            ids.to_lists(), starts,
            num_beams=num_beams, num_hypotheses=num_hypotheses,
            max_new_tokens=max_new_tokens, batch_tokens=batch_tokens,
        )  # fmt: skip
        hypotheses = self._hypotheses(found, max_new_tokens)
        return [list(hypotheses[i]) for i in which]

    def generate_ids(
        self,
        sources: Sequence[Sequence[int]],
        starts: Sequence[Sequence[int]],
        *,
        num_beams: int = 4,
        max_new_tokens: int = 128,
        num_hypotheses: int = 1,
        batch_tokens: int = 4096,
    ) -> list[Found]:
        """Target ids of source ids, best first, for callers that have no text.

        Args:
            sources: Source ids, end token included.
            starts: Target ids that each result begins with; often none.
            num_beams: Width of the beam; 1 is greedy.
            max_new_tokens: Longest result in tokens, end token included.
            num_hypotheses: Results for each source, at most `num_beams`.
            batch_tokens: Padded source tokens in one batch.

        Returns:
            Of each source, ids without end token, and their scores as CTranslate2 has them.
        """
        if max_new_tokens == 1:  # that is the end, which CTranslate2 does not count: it wants more
            return [([[*start]] * num_hypotheses, [0.0] * num_hypotheses) for start in starts]
        if self._takes_start:
            first = decoder_start(self.codec, self.settings)
            starts = [[first, *start] for start in starts]
        results = self._translator.translate_batch(
            [[self._source_tokens[i] for i in row] for row in sources],
            [[self._target_tokens[i] for i in start] for start in starts] if any(starts) else None,
            beam_size=num_beams,
            num_hypotheses=num_hypotheses,
            # The end token counts in our length and not in CTranslate2's. transformers with a
            # forced end token gives the same: at most max_new_tokens - 1 others, then the end.
            max_decoding_length=max_new_tokens - 1,
            max_batch_size=min(batch_tokens, _BATCH_TOKENS),
            batch_type="tokens",
            return_scores=True,
            **self._options(max_new_tokens),
        )
        return [
            (
                [[self._target_ids[token] for token in tokens] for tokens in result.hypotheses],
                list(result.scores),
            )
            for result in results
        ]

    def _options(self, max_new_tokens: int) -> dict[str, Any]:
        settings = self.settings
        # CTranslate2 does not count the decoder's start, and refuses a least above the most.
        least = min(settings.min_length, max_new_tokens) - 1
        return {
            "min_decoding_length": max(least, 0),
            "max_input_length": 0,
            "patience": _PATIENCE,
            "length_penalty": settings.length_penalty,
            "no_repeat_ngram_size": settings.no_repeat_ngram_size,
            "repetition_penalty": settings.repetition_penalty,
            "suppress_sequences": [
                [self._target_tokens[i] for i in word]
                for word in settings.bad_words_ids
                if all(i < len(self._target_tokens) for i in word)
            ]
            or None,
        }

    def _hypotheses(self, found: Sequence[Found], max_new_tokens: int) -> list[list[Hypothesis]]:
        special = (self.codec.eos_token_id, self.codec.pad_token_id)
        texts = iter(self.codec.decode([ids for row, _ in found for ids in row]))
        return [
            [
                Hypothesis(
                    next(texts),
                    tuple(i for i in ids if i not in special),
                    self._sum(score, len(ids), max_new_tokens),
                )
                for ids, score in zip(row, scores, strict=True)
            ]
            for row, scores in found
        ]

    def _sum(self, score: float, num_tokens: int, max_new_tokens: int) -> float:
        """The sum of log-probabilities behind a score that was divided by its length.

        CTranslate2 counts a prefix and the end token in that length, though it does not score
        the prefix; where the limit was met there is no end token.
        """
        length = num_tokens if num_tokens >= max_new_tokens - 1 else num_tokens + 1
        return score * float(max(length, 1) ** self.settings.length_penalty)


def engine_from_model(
    model: nn.Module,
    codec: TextCodec,
    *,
    quantization: str = "float32",
    threads: int = 0,
) -> CTranslate2Engine:
    """Convert a model in memory, as in the middle of training; the model is left as it is.

    Raises:
        ModelError: CTranslate2 does not support the model.
    """
    from attuner.inference.conversion import convert_model

    settings = settings_of_model(model)
    with tempfile.TemporaryDirectory(prefix="attuner-") as folder:
        converted = Path(folder) / "engine"
        convert_model(model, converted, codec, quantization=quantization)
        return CTranslate2Engine(
            converted, codec, quantization=quantization, threads=threads, settings=settings
        )


def num_cores() -> int:
    """Threads to use where the user does not say."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else min(os.cpu_count() or 1, 8)


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Keep torch's number of threads: CTranslate2 shares its OpenMP and sets it for itself.

    Without this a run trains on one core from its first evaluation on.
    """
    torch: Any = sys.modules.get("torch")  # where torch is not imported, it need not be
    threads = torch.get_num_threads() if torch else 0
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(threads)


def _is_without_start(folder: Path) -> bool:
    """Whether each call has to say what the decoder starts with, such as mBART-25's language."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return settings.get("decoder_start_token", "") is None


def _vocabulary(folder: Path, side: str) -> list[str]:
    """The tokens of a side, by id."""
    for name in (f"{side}_vocabulary.json", "shared_vocabulary.json"):
        if (folder / name).is_file():
            tokens: list[str] = json.loads((folder / name).read_text(encoding="utf-8"))
            return tokens
    raise ModelError(f"{folder} has no {side}_vocabulary.json.", "Convert the model again.")
