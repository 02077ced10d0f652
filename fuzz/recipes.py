"""Generated recipes."""

from __future__ import annotations

from random import Random

from fuzz.texts import to_bytes

_SCALARS = ["1", "-1", "1e999", ".nan", "no", "true", "''", "~", "9" * 5000, "0x" + "f" * 5000]
_SCALARS += ["0o7", "a b", "[]", "{}", "[a, [b]]", "{a: b}", "*a", "&a 1", "!!int 1", "'\\0'"]
_SCALARS += ['"\\ud800"', '"\\0"', "embedded:en-fr", "x.po", "1e5000", "2026-01-01", "\ud800"]


def recipe(random: Random) -> bytes:
    """All sections, with some of their options."""

    def scalar() -> str:
        return random.choice(_SCALARS)

    def section(name: str, keys: str) -> str:
        chosen = [key for key in keys.split() if random.random() < 0.1]
        return f"{name}: {{{', '.join(f'{key}: {scalar()}' for key in chosen)}}}\n"

    text = random.choice(
        (
            "task: {name: translation, source: en, target: fr}\n",
            section("task", "name source target"),
        )
    )
    text += random.choice(
        (
            "model: embedded:en-fr\n",
            section("model", "checkpoint config dropout revision tokenizer"),
        )
    )
    text += random.choice(
        ("data: a.po\n", section("data", "train validation test split max_source_tokens cache x"))
    )
    text += section(
        "training", "epochs max_steps learning_rate precision seed early_stopping save batch_tokens"
    )
    text += section("generation", "engine num_beams") + section("output", "name folder")
    return to_bytes(text + random.choice(("", "", "", f"{scalar()}: {scalar()}\n", text)))
