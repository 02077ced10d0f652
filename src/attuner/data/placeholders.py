r"""Find what a translation must carry over unchanged: placeholders, tags, entities.

Strings do not say which format they use, so all are looked for at once. Where two formats read
the same characters differently, the one more common in catalogs wins, on both sides alike:
`%1s` is Qt's `%1` before an "s" (seconds), not C's field of width 1; and a space is never a
printf flag, for "50 % de" is prose.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_LENGTH = "(?:hh|h|ll|l|q|L|j|z|t|I64|I32)?"
_CONVERSION = "[diouxXeEfFgGaAcsp@]"

# One group a kind; the first that matches at a place wins.
_PATTERNS = {
    # Two percent signs print one (C, Python): nothing to carry over, but not half of `%s` either.
    "escape": r"%%",
    # Python, "printf-style String Formatting": %(name)s
    "python": r"%\(\w[\w. -]*\)[-+#0]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]",
    # Ruby, Kernel#format: %{name}
    "ruby": r"%\{\w+\}",
    # C99 7.19.6.1 and POSIX fprintf (%1$s), with Apple's %@ and gettext's %<PRIu64>.
    "printf": (
        rf"%\d+\$[-+#0']*\d*(?:\.\d+)?{_LENGTH}{_CONVERSION}"
        rf"|%(?:[-+#0']+\d*|\*|\d+(?=\.))?(?:\.(?:\d+|\*))?{_LENGTH}{_CONVERSION}"
        r"|%<PRI\w+>"
    ),
    # Qt, QString::arg: %1 to %99, %L1 in the locale's digits; QObject::tr: %n. KDE's ki18n: %1.
    "qt": r"%L?(?:\d{1,2}|n(?![A-Za-z]))",
    # ECMAScript template literals, shell: ${name}
    "dollar": r"\$\{[^{}\s]+\}",
    # Mustache, i18next, Angular: {{name}}. In Python an escaped brace, to be kept as well.
    "mustache": r"\{\{[^{}]+\}\}",
    # ICU MessageFormat, formatted argument: {count, plural, ...}; its end is searched for.
    "icu": (
        r"\{\s*\w+\s*,\s*(?:number|date|time|choice|plural|selectordinal|select|spellout|ordinal"
        r"|duration)\b"
    ),
    # Python str.format (PEP 3101), C#, Java MessageFormat, ICU: {}, {0}, {name}, {a.b[0]!r:>5}.
    # `{id: string}` is a type in TypeScript, and `{name: value}` JSON.
    "brace": r"\{(?:[A-Za-z_]\w*|\d+)?(?:\.\w+|\[\w+\])*(?:![rsa])?(?::(?!\s+[\w\"'\[])[^{}]*)?\}",
    # XML 1.0, 3.1: start, end and empty-element tags; HTML and KDE's KUIT alike. `<file name>`
    # is prose: what follows the name must be attributes.
    "tag": (r"</?[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>"),
    # XML 1.0, 4.1: entity and character references.
    "entity": r"&(?:\#\d+|\#x[0-9A-Fa-f]+|[A-Za-z][\w.-]*);",
    # RFC 3986, as far as it is written in prose.
    "url": r"\b(?:https?|ftp|file|mailto):[^\s<>\"'«»{}]*[^\s<>\"'«»{}.,;:!?)\]]",
}
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS.items()))
_TAG_NAME = re.compile(r"</?[\w:.-]+")
_ICU_HEAD = re.compile(r"\{\s*(\w+)\s*,\s*(\w+)")
_NUMBERED = re.compile(r"%(\d+)\$")
_ACCELERATOR = re.compile(r"&&|&(?:#?\w+;)|&(\w)")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A stretch of text that a translation carries over.

    Attributes:
        kind: Which format it belongs to, such as "printf" or "tag".
        text: As it stands in the text.
        start: Where it begins, in characters.
        key: What must agree on both sides: the text, or for a tag its name alone, since
            attributes may be translated, and for an ICU argument its name and type.
    """

    kind: str
    text: str
    start: int
    key: str

    @property
    def end(self) -> int:
        """Where it ends, in characters."""
        return self.start + len(self.text)


def find_placeholders(text: str) -> Iterator[Placeholder]:
    """All placeholders of a text from left to right; none overlaps another.

    >>> [p.text for p in find_placeholders('<a href="%1">%s of {total}</a>')]
    ['<a href="%1">', '%s', '{total}', '</a>']
    """
    place = 0
    while match := _ANY.search(text, place):
        kind, found = match.lastgroup or "", match.group()
        if kind == "icu":
            found = _balanced(text, match.start())
        place = match.start() + len(found)
        if kind != "escape":
            yield Placeholder(kind, found, match.start(), _key(kind, found))


def placeholders(text: str) -> Counter[str]:
    """How often each placeholder occurs, by its key; web addresses are left out.

    Those inside a tag's attributes or the branches of an ICU plural count too; in branches
    only once, because languages have different numbers of them.

    >>> dict(placeholders("<b>%1</b> of %n, {count, plural, one {# in {dir}} other {# in {dir}}}"))
    {'<b>': 1, '%1': 1, '</b>': 1, '%n': 1, '{count, plural}': 1, '{dir}': 1}
    """
    counts: Counter[str] = Counter()
    if not any(mark in text for mark in "%{<&"):
        return counts
    for found in find_placeholders(text):
        if found.kind == "url":
            continue
        counts[found.key] += 1
        inner = placeholders(found.text[1:]) if found.kind in ("tag", "icu") else {}
        counts.update(dict.fromkeys(inner, 1) if found.kind == "icu" else inner)
    return counts


def missing_placeholders(source: str, target: str) -> Counter[str]:
    """Placeholders of `source` that `target` lacks.

    A translation may number printf arguments to reorder them (gettext manual, "c-format"),
    and may write entities such as `&quot;` as its own quotation marks.

    >>> dict(missing_placeholders("%s: %d files in <b>%s</b>", "%s : %d fichiers"))
    {'%s': 1, '<b>': 1, '</b>': 1}
    >>> dict(missing_placeholders("%s of %d", "%2$d de %1$s"))
    {}
    """
    return compare_placeholders(source, target)[0]


def compare_placeholders(source: str, target: str) -> tuple[Counter[str], Counter[str]]:
    """What `target` lacks and what it has too much, each as in `missing_placeholders`."""
    ours, theirs = placeholders(source), placeholders(target)
    if ours == theirs:
        return Counter(), Counter()
    if _is_numbered(ours) != _is_numbered(theirs):
        ours, theirs = _numbered(source, ours), _numbered(target, theirs)
    return _telling(ours - theirs), _telling(theirs - ours)


def accelerators(text: str) -> list[str]:
    """Characters marked as keyboard accelerators by `&` (Qt, KDE, Windows), in lower case.

    `&&` is a literal ampersand, `&amp;` an entity.

    >>> accelerators("Save &As && close &amp; quit")
    ['a']
    """
    return [found[1].lower() for found in _ACCELERATOR.finditer(text) if found[1]]


def _key(kind: str, text: str) -> str:
    if kind == "tag":
        name = _TAG_NAME.match(text)
        return f"{name.group()}>" if name else text
    if kind == "icu":
        head = _ICU_HEAD.match(text)
        return f"{{{head[1]}, {head[2]}}}" if head else text
    return text


def _balanced(text: str, start: int) -> str:
    """The text from the brace at `start` to the one that closes it, or to the end."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    return text[start:]


def _telling(counts: Counter[str]) -> Counter[str]:
    return Counter({key: n for key, n in counts.items() if not _is_typography(key)})


def _is_typography(key: str) -> bool:
    """Whether this is a reference to a character that needs no escaping in XML.

    A translation may write it as the character, or have no use for it: French has its own
    quotation marks.
    """
    return key.startswith("&") and html.unescape(key) not in (key, "&", "<", ">")


def _is_numbered(counts: Counter[str]) -> bool:
    return any(_NUMBERED.match(key) for key in counts)


def _numbered(text: str, counts: Counter[str]) -> Counter[str]:
    """The counts with the n-th unnumbered printf argument of `text` written as `%n$`."""
    if _is_numbered(counts):
        return counts
    result = Counter(counts)
    printf = (found.text for found in find_placeholders(text) if found.kind == "printf")
    for number, key in enumerate(printf, start=1):
        result[key] -= 1
        result[f"%{number}${key[1:]}"] += 1
    return +result
