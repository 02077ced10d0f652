"""How a model is used, as commands and code that work as they are written."""

from __future__ import annotations

from shlex import quote

from attuner.cards.facts import Facts
from attuner.cards.markdown import Markdown, block

# Models that only Attuner finds by their name.
_OURS = ("embedded", "package")
_SAMPLE = "Open the file"
_REVIEW = "A text."


def usage(facts: Facts) -> list[tuple[str, Markdown]]:
    """Titles, and the code below them."""
    made = _of_labels(facts) if facts.task == "classification" else _of_text(facts)
    return [(title, block(code, language)) for title, language, code in made]


def _of_text(facts: Facts) -> list[tuple[str, str, str]]:
    use, address = facts.use, facts.address
    sample = _sample(facts)
    found = [
        ("In a shell:", "bash", f"attuner translate {quote(address)} {quote(sample)}"),
        (
            "With Attuner, in Python:",
            "python",
            f"import attuner\n\nmodel = attuner.load({address!r})\n"
            f"print(model.translate({sample!r}, num_beams={use.num_beams}))",
        ),
    ]
    if not facts.base.is_separate:
        found.append(("With transformers:", "python", _transformers(facts, sample)))
    elif facts.base.kind not in _OURS:
        found.append(("With transformers and peft:", "python", _transformers(facts, sample)))
    if use.runs_on_ctranslate2:
        command = f"attuner export {quote(address)} --to ctranslate2 --output exported"
        found.append(("For CTranslate2:", "bash", command))
        if not use.tells_languages:  # else each call has to name a token: Attuner does
            found.append(("and then", "python", _ctranslate2(facts, sample)))
    return found


def _transformers(facts: Facts, sample: str) -> str:
    use, address = facts.use, facts.address
    is_adapter = facts.base.is_separate
    library = "peft" if is_adapter else "transformers"
    kind = "AutoPeftModelForSeq2SeqLM" if is_adapter else "AutoModelForSeq2SeqLM"
    imports = (
        f"from peft import {kind}\nfrom transformers import AutoTokenizer"
        if library == "peft"
        else f"from transformers import {kind}, AutoTokenizer"
    )
    return (
        f"{imports}\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({address!r})\n"
        f"model = {kind}.from_pretrained({address!r}).eval()\n"
        f'batch = tokenizer([{use.prefix + sample!r}], return_tensors="pt", padding=True)\n'
        f"ids = model.generate(**batch, num_beams={use.num_beams}, "
        f"max_new_tokens={use.max_new_tokens})\n"
        "print(tokenizer.batch_decode(ids, skip_special_tokens=True))"
    )


def _ctranslate2(facts: Facts, sample: str) -> str:
    use, address = facts.use, facts.address
    return (
        "import ctranslate2\nfrom transformers import AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({address!r})\n"
        'translator = ctranslate2.Translator("exported")\n'
        f"tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode({use.prefix + sample!r}))\n"
        f"(result,) = translator.translate_batch([tokens], beam_size={use.num_beams}, "
        f"max_decoding_length={use.max_new_tokens})\n"
        "ids = tokenizer.convert_tokens_to_ids(result.hypotheses[0])\n"
        "print(tokenizer.decode(ids, skip_special_tokens=True))"
    )


def _of_labels(facts: Facts) -> list[tuple[str, str, str]]:
    use, address = facts.use, facts.address
    sample = _sample(facts)
    if use.is_pair:
        typed, second = "pairs.csv", ', ["And another."]'
        given = f'{{"text": {sample!r}, "text_pair": "And another."}}'
    else:
        typed, second, given = sample, "", repr(sample)
    every = ", top_k=None" if use.kind == "multi" else ""
    return [
        ("In a shell:", "bash", f"attuner classify {quote(address)} {quote(typed)}"),
        (
            "With Attuner, in Python:",
            "python",
            f"import attuner\n\nmodel = attuner.load({address!r})\n"
            f"print(model.classify([{sample!r}]{second}))",
        ),
        (
            "With transformers:",
            "python",
            "from transformers import pipeline\n\n"
            f'classify = pipeline("text-classification", model={address!r})\n'
            f"print(classify({given}{every}))",
        ),
    ]


def _sample(facts: Facts) -> str:
    """A text to try: one of the held-out ones where they are shown."""
    fallback = _REVIEW if facts.task == "classification" else _SAMPLE
    texts = (row.source for row in facts.shown)
    # In a shell, what begins with a dash would be an option.
    return next((text for text in texts if text.isprintable() and text[:1] != "-"), fallback)
