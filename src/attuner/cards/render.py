"""Render a card: README.md of a model folder, from its facts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from attuner.cards import sentences, tables
from attuner.cards.facts import Facts
from attuner.cards.limits import limits
from attuner.cards.markdown import Markdown, block, code, escaped
from attuner.cards.metadata import metadata
from attuner.cards.usage import usage
from attuner.evaluation.metric_names import metric_name

_TEMPLATE = "card.md.jinja"


def render(facts: Facts) -> str:
    """The whole card: metadata, then Markdown."""
    body = _template().render(
        facts=facts,
        opening=sentences.opening(facts),
        so_far_words=sentences.so_far_words(facts),
        score_table=tables.score_table(facts),
        score_words=sentences.score_words(facts),
        usage_words=sentences.usage_words(facts),
        usage=usage(facts),
        base_words=sentences.base_words(facts),
        counts_table=tables.counts_table(facts),
        data_words=sentences.data_words(facts),
        data_notes=facts.data.notes,
        seeds_words=sentences.seeds_words(facts),
        signatures=[
            (metric_name(name), code(text)) for name, text in facts.scored.signatures.items()
        ],
        label_table=tables.label_table(facts),
        shown_table=tables.shown_table(facts),
        epoch_table=tables.epoch_table(facts),
        export_table=tables.export_table(facts),
        export_words=sentences.export_words(facts),
        limits=limits(facts),
        training_words=sentences.training_words(facts),
        changes=facts.training.changes,
        recipe=block(facts.training.recipe, "yaml"),
        license_words=sentences.license_words(facts),
        check=code(f"attuner card {facts.address} --check"),
    )
    return f"---\n{metadata(facts).to_yaml()}\n---\n\n{body.strip()}\n"


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=_shown, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    source = files("attuner.cards").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source)


def _shown(value: Any) -> Any:
    """What the template writes: escaped, unless it is Markdown already."""
    return value if isinstance(value, Markdown) else escaped(value)
