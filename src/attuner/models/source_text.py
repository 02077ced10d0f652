"""What is put before each source as text: the target language's token, and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from attuner.models.families import LANGUAGE_TOKENS
from attuner.models.languages import codes_in, require_language


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text before each source.

    Attributes:
        words: Such as `translate English to French: `, or "".
        tokens: The tokens of the languages that can stand before a source, by code.
        target_code: The one that does; None where none does.
    """

    words: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict)
    target_code: str | None = None

    @classmethod
    def of(cls, tokenizer: str, vocabulary: Iterable[str]) -> SourceText:
        """What a tokenizer of this class can put there, by its vocabulary."""
        marks = LANGUAGE_TOKENS.get(tokenizer)
        if marks is None or not marks.is_text:
            return cls()
        return cls(tokens=codes_in(vocabulary, marks.spelling, marks.code))

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that can be told, in the checkpoint's spelling."""
        return tuple(self.tokens)

    @property
    def token(self) -> str:
        """The language's token with the space after it, or ""."""
        return "" if self.target_code is None else f"{self.tokens[self.target_code]} "

    @property
    def prefix(self) -> str:
        """All that stands before a source."""
        return self.token + self.words

    def into(self, target: str | None) -> SourceText:
        """The same for texts that are translated into a language.

        Raises:
            ModelError: The checkpoint tells languages apart and does not know this one.
        """
        if not self.tokens or target is None:
            return replace(self, target_code=None)
        code = require_language(target, self.languages, side="target")
        return replace(self, target_code=code)

    def before(self, texts: Sequence[str]) -> Sequence[str]:
        """The texts with the prefix; one that begins with a language's token keeps its own."""
        if not self.prefix:
            return texts
        if self.target_code is None:
            return [self.words + text for text in texts]
        starts = tuple(self.tokens.values())
        return [text if text.startswith(starts) else self.prefix + text for text in texts]
