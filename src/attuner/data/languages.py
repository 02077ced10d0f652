"""Compare language codes as files write them with those that a task asks for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from attuner.data.asked import Asked
from attuner.errors import DataError

# Codes for one language: Norwegian for its usual written form, and codes that ISO 639 replaced.
_ALIASES = {"nb": "no", "iw": "he", "in": "id", "ji": "yi"}
_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


def same_language(one: str, other: str) -> bool:
    """Whether two codes can mean one language: equal, or one has a region and the other none.

    >>> same_language("en", "en-US"), same_language("fr_FR", "fr")
    (True, True)
    >>> same_language("pt-BR", "pt_PT"), same_language("de", "fr")
    (False, False)
    >>> same_language("sr@latin", "sr"), same_language("fr_FR.UTF-8", "fr-FR")
    (True, True)
    """
    ours, theirs = _parts(one), _parts(other)
    shorter = min(len(ours), len(theirs))
    return ours[:shorter] == theirs[:shorter]


def matching(codes: Iterable[str], language: str) -> list[str]:
    """Those of `codes` that are `language`; where none is, all that can mean it.

    >>> matching(["en", "en_GB"], "en-GB"), matching(["pt_BR", "de", "pt_PT"], "pt")
    (['en_GB'], ['pt_BR', 'pt_PT'])
    """
    candidates = list(codes)
    for same in (str.__eq__, lambda one, other: _parts(one) == _parts(other)):
        if exact := [code for code in candidates if same(code, language)]:
            return exact
    return [code for code in candidates if is_code(code) and same_language(code, language)]


def find_language(names: Iterable[str], language: str) -> str | None:
    """The one of `names` that is `language`: the same code, else the only one of the same kind.

    >>> find_language(["en", "fr_FR"], "fr")
    'fr_FR'
    >>> find_language(["pt_BR", "pt_PT"], "pt") is None
    True
    """
    found = matching(names, language)
    is_exact = bool(found) and _parts(found[0]) == _parts(language)
    return found[0] if is_exact or len(found) == 1 else None


def of_sides(codes: Collection[str], source: str, target: str) -> tuple[list[str], list[str]]:
    """Those of `codes` that can mean the source language, and those that can mean the target one.

    Where the two are variants of one language, no code means both.

    >>> of_sides(["en", "en-GB", "fr", "fr-FR"], "en", "fr")
    (['en', 'en-GB'], ['fr', 'fr-FR'])
    >>> of_sides(["en", "en-GB"], "en", "en-GB"), of_sides(["en", "en-GB"], "en-US", "en-GB")
    ((['en'], ['en-GB']), (['en'], ['en-GB']))
    """
    ours, theirs = (
        [code for code in codes if same_language(code, one) and _parts(code) != _parts(other)]
        for one, other in ((source, target), (target, source))
    )
    ours = [code for code in ours if code not in theirs] or ours
    return ours, [code for code in theirs if code not in ours]


def is_code(text: str) -> bool:
    """Whether `text` looks like a language code (and not like "French" or "LL")."""
    return _CODE.fullmatch("-".join(_parts(text))) is not None


def check_language(
    file: str, declared: str | None, attribute: str, side: str, asked: Asked
) -> None:
    """Refuse a file that says that it is in another language.

    Args:
        file: The file, as an error shows it.
        declared: What the file says; nothing is checked where it says nothing usable.
        attribute: How the file calls it: `source-language`, `Language`.
        side: `source` or `target`.
        asked: The languages that the task has, and how one types others.

    Raises:
        DataError: The codes contradict each other; names both.
    """
    wanted = asked.language_of(side)
    if not declared or not wanted or not is_code(declared) or same_language(declared, wanted):
        return
    raise DataError(
        f'{file}: the file says {attribute} "{declared}", the task asks for "{wanted}".',
        f"The {side} side of the file must be in the task's {side} language.",
        f"Give another file, or set {asked.typed(side, declared)}.",
    )


@lru_cache(maxsize=1024)  # a TMX names a language with every text
def _parts(code: str) -> tuple[str, ...]:
    """Lower-case subtags of a code, without POSIX's encoding and modifier."""
    bare = re.split(r"[.@]", code, maxsplit=1)[0].strip()
    language, *others = bare.lower().replace("_", "-").split("-")
    return (_ALIASES.get(language, language), *others)
