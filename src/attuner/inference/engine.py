"""What an engine is: texts in, n-best texts with scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from attuner.models.codec import TextCodec


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One generated text.

    Attributes:
        text: The text, special tokens left out.
        token_ids: Its target token ids, without start and end token.
        score: Sum of the log-probabilities of its tokens, end token included, in nats.
    """

    text: str
    token_ids: tuple[int, ...]
    score: float


class Engine(Protocol):
    """Generates target lines from source lines.

    Attributes:
        name: What wrote the text, for signatures: `ctranslate2 4.8.5 float32`.
        codec: The tokens, and the languages that they are set to.
    """

    name: str
    codec: TextCodec

    def between(self, source: str | None, target: str | None) -> Engine:
        """The same loaded model for texts of two languages; see `TextCodec.between`.

        Raises:
            ModelError: The checkpoint knows no such language, or needs both.
        """
        ...

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
        """Translate lines (no line breaks, no edge white space), best hypothesis first.

        Args:
            lines: Source lines, in any order; results come in the same order.
            num_beams: Width of the beam; 1 is greedy.
            max_new_tokens: Longest result in tokens, end token included.
            num_hypotheses: Results for each line, at most `num_beams`.
            target_prefixes: Text that each translation must begin with.
            max_source_tokens: Longer sources are cut, end token kept.
            batch_tokens: Padded source tokens in one batch.

        Raises:
            ModelError: The checkpoint tells languages apart and was not told the target's.
        """
        ...
