"""The words of a text, in any script, for metrics that count them."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

# Languages written without spaces, by ISO 639-1 and 639-3: each character counts as a word.
_WITHOUT_SPACES = frozenset(
    ("zh", "zho", "cmn", "yue", "ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya")
)


def primary_language(code: str) -> str:
    """The first part of a code in any spelling.

    >>> primary_language("zho_Hans"), primary_language("pt-BR"), primary_language("fr_XX")
    ('zho', 'pt', 'fr')
    """
    return code.replace("_", "-").split("-")[0].lower()


def is_english(code: str) -> bool:
    """Whether a code means English: `en`, `en-GB`, `eng_Latn`, `en_XX`."""
    return primary_language(code) in ("en", "eng")


def words(text: str, language: str) -> list[str]:
    """Lower-case words without punctuation; characters where a language has no spaces.

    >>> words("L'élève a dit : « Non ! »", "fr")
    ['l', 'élève', 'a', 'dit', 'non']
    >>> words("打开文件。", "zh-Hans")
    ['打', '开', '文', '件']
    """
    word, letter = _patterns()
    found = word.findall(unicodedata.normalize("NFC", text).lower())
    if primary_language(language) not in _WITHOUT_SPACES:
        return found
    return [
        piece
        for run in found
        for piece in ([run] if run.isascii() else letter.findall(run))
        if piece != "_"
    ]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    r"""Of a word and of a letter, with the marks that `\w` leaves out, such as vowel signs."""
    every = map(chr, range(sys.maxunicode + 1))
    marks = "".join(char for char in every if unicodedata.category(char)[0] == "M")
    return re.compile(rf"\w[\w{marks}]*"), re.compile(rf"\w[{marks}]*")
