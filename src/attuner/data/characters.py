"""Find the characters that a tokenizer loses: no-break spaces, rare letters, emoji."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from attuner.data.features import TokenColumn

Encode = Callable[[Sequence[str]], TokenColumn]
Decode = Callable[[Sequence[Sequence[int]]], list[str]]

_MOST_LETTERS = 20


@dataclass(frozen=True, slots=True)
class LostCharacter:
    """A character that does not survive encoding and decoding.

    Attributes:
        character: The character.
        name: Its code point and Unicode name: `U+202F NARROW NO-BREAK SPACE`.
        count: How often it occurs in the texts.
        fate: `unknown` (no token for it), `vanishes`, or `becomes "x"`.
    """

    character: str
    name: str
    count: int
    fate: str


def lost_characters(
    texts: Iterable[str], encode: Encode, decode: Decode, *, unk_token_id: int
) -> list[LostCharacter]:
    """The characters of `texts` that a tokenizer loses, the most frequent first.

    Each different character is tried once, between two letters that the tokenizer keeps, so that
    all texts are covered at the price of a few hundred short encodings.

    Args:
        texts: Lines as the model sees them.
        encode: Texts → token ids.
        decode: Those ids → texts.
        unk_token_id: Id of what the vocabulary lacks.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    characters = sorted(counts)
    # Combining marks would melt into a letter before them, as they should.
    letters = _kept_letters(counts, encode, decode)
    left, right = letters[0], letters[1]
    probes = [f"{left}{c}{right}" for c in characters if not unicodedata.combining(c)]
    ids = encode(probes).to_lists()
    lost = []
    for probe, tokens, back in zip(probes, ids, decode(ids), strict=True):
        if back == probe:
            continue
        found = back.strip().removeprefix(left).removesuffix(right)
        if unk_token_id in tokens:
            fate = "unknown"
        else:
            fate = f'becomes "{found}"' if found else "vanishes"
        lost.append(LostCharacter(probe[1], _name(probe[1]), counts[probe[1]], fate))
    return sorted(lost, key=lambda entry: -entry.count)


def _kept_letters(counts: Counter[str], encode: Encode, decode: Decode) -> str:
    """Two letters that come back: `ab`, or the commonest ones of a vocabulary without them."""
    letters = [char for char, _ in counts.most_common() if char.isalpha()][:_MOST_LETTERS]
    tried = ["ab", *(f"{one}{other}" for one, other in pairwise(letters))]
    kept = zip(tried, decode(encode(tried).to_lists()), strict=True)
    return next((pair for pair, back in kept if pair == back), "ab")


def _name(character: str) -> str:
    r"""Code point and Unicode name.

    >>> _name("\u202f"), _name("\t")
    ('U+202F NARROW NO-BREAK SPACE', 'U+0009 control character')
    """
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character')}"


def changed_texts(
    texts: Sequence[str], encode: Encode, decode: Decode
) -> list[tuple[int, str, str]]:
    """Texts that do not come back from encoding and decoding: (position, before, after)."""
    after = decode(encode(texts).to_lists())
    pairs = enumerate(zip(texts, after, strict=True))
    return [(place, text, back) for place, (text, back) in pairs if text != back]
