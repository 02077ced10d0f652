"""Generated XLIFF, TMX and TS files."""

from __future__ import annotations

from random import Random

from fuzz.texts import CODES, any_text, to_bytes


def _escaped(random: Random) -> str:
    text = any_text(random)
    return text.replace("&", "&amp;").replace("<", "&lt;") if random.random() < 0.9 else text


def _marked(random: Random, depth: int = 0) -> str:
    """Text with inline elements, some of them left open."""
    if depth > 4 or random.random() < 0.6:
        return _escaped(random)
    tag = random.choice(
        ("g", "x", "ph", "bpt", "ept", "it", "mrk", "sub", "pc", "sc", "hi", "ut", "byte")
    )
    attribute = random.choice(("", ' id="1"', ' equiv-text="%s"', ' equiv="%s"', ' disp="&lt;b>"'))
    inner = _marked(random, depth + 1)
    closing = f"</{tag}>" if random.random() < 0.97 else ""
    element = (
        f"<{tag}{attribute}/>" if random.random() < 0.4 else f"<{tag}{attribute}>{inner}{closing}"
    )
    return _escaped(random) + element + _marked(random, depth + 1)


def _element(random: Random, name: str, inner: str, likely: float = 0.95) -> str:
    """An element that is now and then missing, empty, doubled or of another name."""
    if random.random() < likely:
        return f"<{name}>{inner}</{name.split()[0]}>"
    return random.choice(
        ("", f"<{name}/>", f"<{name}>{inner}</{name.split()[0]}>" * 2, f"<x>{inner}</x>")
    )


def _xml(random: Random, body: str) -> bytes:
    head = random.choice(
        ("", "", "", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="latin-1"?>')
    )
    text = head + body
    # What XML forbids would end every file at once.
    if random.random() < 0.95:
        text = "".join(
            c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff")
        )
    return to_bytes(text)


def xliff1(random: Random) -> bytes:
    """Trans-units in a file, plain or in a plural group."""
    units = ""
    for index in range(random.randint(0, 4)):
        state = random.choice(
            ("", ' state="new"', ' state="needs-x"', ' state-qualifier="fuzzy-match"')
        )
        inner = _element(random, "source", _marked(random))
        inner += _element(random, f"target{state}", _marked(random), 0.8)
        space = random.choice(("", ' xml:space="preserve"', ' restype="x-gettext-domain-header"'))
        unit = _element(random, f'trans-unit id="{index}[{index}]"{space}', inner)
        units += (
            f'<group restype="x-gettext-plurals">{unit}</group>' if random.random() < 0.2 else unit
        )
    ours, theirs = (
        random.choice(("en", "en", "en", *CODES[:7])),
        random.choice(("fr", "fr", "fr_CA")),
    )
    file = f'file source-language="{ours}" target-language="{theirs}"'
    return _xml(
        random, f'<xliff version="1.2">{_element(random, file, f"<body>{units}</body>")}</xliff>'
    )


def xliff2(random: Random) -> bytes:
    """Segments in units."""
    units = ""
    for index in range(random.randint(0, 4)):
        inner = _element(random, "source", _marked(random))
        inner += _element(random, "target", _marked(random), 0.8)
        state = random.choice(
            ("", ' state="initial"', ' state="translated"', ' state="x" subState="a:b"')
        )
        segments = _element(random, f"segment{state}", inner) * random.choice((1, 1, 2))
        units += _element(random, f'unit id="{index}"', segments)
    namespace = random.choice(("urn:oasis:names:tc:xliff:document:2.0", "u", ""))
    return _xml(
        random,
        f'<xliff version="2.0" xmlns="{namespace}" srcLang="en" trgLang="fr"><file id="f">{units}'
        "</file></xliff>",
    )


def tmx(random: Random) -> bytes:
    """Units with variants in languages asked for and others."""
    units = ""
    for _ in range(random.randint(0, 4)):
        variants = ""
        for code in random.choice((["en", "fr"], ["en", "fr", "fr"], ["fr"], ["en"], CODES[:6])):
            variants += _element(
                random, f'tuv xml:lang="{code}"', _element(random, "seg", _marked(random))
            )
        units += _element(random, random.choice(("tu", 'tu tuid="a"')), variants)
    return _xml(random, f'<tmx version="1.4"><header/>{_element(random, "body", units)}</tmx>')


def ts(random: Random) -> bytes:
    """Messages of a context, some with numerus forms."""
    messages = ""
    for _ in range(random.randint(0, 4)):
        plural = random.random() < 0.4
        forms = "".join(
            _element(random, "numerusform", _marked(random)) for _ in range(random.randint(0, 3))
        )
        kind = random.choice(
            ("", "", ' type="unfinished"', ' type="obsolete"', ' type="vanished"', ' type="x"')
        )
        inner = _element(random, "source", _marked(random))
        inner += _element(random, f"translation{kind}", forms if plural else _marked(random), 0.9)
        named = random.choice(("message", 'message id="a"'))
        messages += _element(random, named + ' numerus="yes"' * plural, inner)
    context = _element(random, "context", _element(random, "name", _escaped(random)) + messages)
    return _xml(
        random,
        f'<TS version="2.1" language="{random.choice(("fr", "fr_FR", "ar", ""))}">{context}</TS>',
    )
