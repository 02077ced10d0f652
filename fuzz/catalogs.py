"""Generated PO and MO files."""

from __future__ import annotations

import struct
from random import Random

from fuzz.texts import CODES, any_text, to_bytes


def po(random: Random) -> bytes:
    """A header and a few entries, of all kinds that gettext knows."""

    def quoted(text: str) -> str:
        if random.random() < 0.05:
            return f'"{text}"'
        for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
            text = text.replace(plain, escaped)
        return f'"{text}"'

    forms = random.choice((*[2] * 9, 1, 3, 0, 10**9))
    rule = random.choice(
        (*["(n > 1)"] * 15, "0", "n", "n/0", "n%10==1 ? 0 : 1", "(" * 30, "n" * 2000, "-1")
    )
    charset = random.choice((*["UTF-8"] * 15, "latin-1", "CHARSET", "x", "utf-16", "rot13"))
    head = (
        f'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset={charset}\\n"\n'
        f'"Language: {random.choice(("fr", "fr", "fr", *CODES))}\\n"\n'
        f'"Plural-Forms: nplurals={forms}; plural={rule};\\n"\n'
    )
    entries = [head] if random.random() < 0.8 else []
    for _ in range(random.randint(0, 6)):
        mark = random.choice(("", "", "", "#~ "))
        lines = [f"msgid {quoted(any_text(random))}"]
        if random.random() < 0.3:
            lines.insert(0, f"msgctxt {quoted(any_text(random))}")
        if random.random() < 0.4:
            lines.append(f"msgid_plural {quoted(any_text(random))}")
            numbers = random.choice(
                ([0], [0, 1], [0, 1], [1, 0], [0, 0], [0, 2], [7], range(4), [])
            )
            lines += [f"msgstr[{n}] {quoted(any_text(random))}" for n in numbers]
        else:
            lines.append(f"msgstr {quoted(any_text(random))}")
        lines += [quoted(any_text(random)) for _ in range(random.choice((0, 0, 0, 2)))]
        comment = random.choice(
            ("", "", "#, fuzzy\n", "#: a.c:1\n", "# x\n", '#| msgid "a"\n', "#. x\n")
        )
        entries.append(comment + "".join(f"{mark}{line}\n" for line in lines))
    return to_bytes("\n".join(entries))


def mo(random: Random) -> bytes:
    """A catalog whose tables now and then lead astray."""
    order = random.choice("<>")
    pairs = [
        (b"", b"Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n>1;\n")
    ]
    for _ in range(random.randint(0, 5)):
        key, value = to_bytes(any_text(random)), to_bytes(any_text(random))
        if random.random() < 0.3:
            key = to_bytes(any_text(random)) + b"\4" + key
        if random.random() < 0.4:
            key, value = key + b"\0" + key, b"\0".join([value] * random.randint(1, 4))
        pairs.append((key, value))
    count = len(pairs)
    tables, strings = [b"", b""], b""
    for pair in pairs:
        for side, text in enumerate(pair):
            start = 28 + 16 * count + len(strings)
            if random.random() < 0.03:
                start = random.choice((0, 2**31, 2**32 - 1, 10**6))
            tables[side] += struct.pack(order + "2I", len(text), start)
            strings += text + b"\0"
    version = random.choice((0, 0, 0, 0, 1, 1 << 16, 2 << 16))
    count = random.choice((*[count] * 9, count + 1, 2**32 - 1))
    head = struct.pack(order + "7I", 0x950412DE, version, count, 28, 28 + 8 * len(pairs), 0, 0)
    return head + tables[0] + tables[1] + strings
