"""The sentences of a card: pure functions from its facts."""

from __future__ import annotations

from attuner.cards.facts import Base, Facts, Source
from attuner.cards.markdown import Markdown, code, escaped
from attuner.evaluation.metric_names import metric_name

_MOST_SOURCES = 8
_KINDS = {
    "single": "gives a text one of {} labels",
    "multi": "gives a text any of {} labels",
    "rating": "rates texts",
}
_USES = {
    "train": "Training data",
    "validation": "Validation data",
    "test": "Test data",
    "mix": "Mixed in",
}
_DIVIDED = {
    "source": "entries with the same source text are in the same part, so that no evaluated text "
    "was learned from",
    "catalog": "the entries of a catalog are in the same part",
    "file": "the entries of a file are in the same part",
    "random": "by rows at random: a text can occur in several parts",
}


def opening(facts: Facts) -> Markdown:
    """What the model is, in a sentence."""
    use = facts.use
    if facts.task == "translation":
        does = f"translates {language(use.source)} into {', '.join(map(language, use.targets))}"
    elif facts.task == "classification":
        does = _KINDS[use.kind].format(len(use.labels))
        listed = ", ".join(map(escaped, use.labels[:_MOST_SOURCES]))
        more = ", ..." if len(use.labels) > _MOST_SOURCES else ""
        does += f": {listed}{more}" if listed else ""
    else:
        does = "makes texts from texts"
    began = "trained from scratch" if facts.base.kind == "scratch" else f"tuned from {_name(facts)}"
    return Markdown(f"A model that {does}; {began}.")


def so_far_words(facts: Facts) -> Markdown:
    """That the model is none to rely on yet; "" of a result."""
    if not facts.so_far:
        return Markdown()
    return Markdown(f"**In progress**: no result, but the state of a run {escaped(facts.so_far)}.")


def language(code: str) -> str:
    """A language by its English name and its code.

    >>> language("fr"), language("pt-BR"), language("no such")
    ('French (fr)', 'Portuguese (Brazil) (pt-BR)', 'no such')
    """
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        name = Language.get(code).display_name()
    except LanguageTagError:
        return escaped(code)
    return f"{escaped(name)} ({escaped(code)})"


def score_words(facts: Facts) -> Markdown:
    """What the table of scores is of."""
    scored = facts.scored
    part = "test" if scored.split == "test" else "validation"
    words = f"Scores on {scored.num_examples:,} {part} examples."
    if facts.data.divided_by == "source":
        words += " No source text of theirs is in training."
    if scored.intervals.get("after"):
        words += " In brackets: 95 % intervals."
    if scored.last:
        last = ", ".join(
            f"{metric_name(name)} {value:.2f}"
            for name, value in scored.last.items()
            if value is not None
        )
        words += (
            f" The weights were chosen on these examples, too; at the last evaluation, without a "
            f"choice: {last}."
        )
    return Markdown(words)


def usage_words(facts: Facts) -> Markdown:
    """What the commands call the model."""
    searched = f" It was scored with {code(f'num_beams={facts.use.num_beams}')}."
    return Markdown(
        f"Below, the model goes by {code(facts.address)}: put the place of this folder there, or "
        f"its id on the Hub.{'' if facts.task == 'classification' else searched}"
    )


def base_words(facts: Facts) -> Markdown:
    """What it was tuned from, how much of it, and under which licence that is."""
    base = facts.base
    if base.kind == "scratch":
        return Markdown(
            f"It began with random weights: {escaped(base.family)}, "
            f"{_millions(base.num_parameters)} parameters."
        )
    revision = f" at {code(base.revision)}" if base.revision else ""
    size = f", {_millions(base.num_parameters)} parameters" if base.num_parameters else ""
    words = [f"From {_name(facts)}{revision} ({escaped(base.family)}{size})."]
    if base.adapter:
        words.append(
            f"An adapter ({escaped(base.adapter)}) was trained, {_share(base)}, "
            + ("and is delivered alone." if base.is_separate else "and merged into the weights.")
        )
    elif base.frozen:
        frozen = ", ".join(map(escaped, base.frozen))
        words.append(f"Not trained were {frozen}; {_share(base)} were.")
    words.append(f"Its licence: {escaped(base.license)}." if base.license else "")
    return Markdown(" ".join(filter(None, words)))


def data_words(facts: Facts) -> Markdown:
    """Where the data come from, how they were divided, under which licences they are."""
    data = facts.data
    by_use = {
        use: [source for source in data.sources if source.use == use]
        for use in dict.fromkeys(source.use for source in data.sources)
    }
    lines = [f"{_USES[use]}: {_listed(sources)}." for use, sources in by_use.items()]
    if data.divided_by:
        lines.append(f"Validation and test were split off: {_DIVIDED[data.divided_by]}.")
    known = ", ".join(map(escaped, data.licenses))
    lines.append(f"Licence of the data: {known or 'not stated'}.")
    return Markdown(" ".join(lines))


def seeds_words(facts: Facts) -> Markdown:
    """Scores over several seeds; "" for one."""
    if facts.seeds is None:
        return Markdown()
    seeds = facts.seeds
    lines = [
        f"{len(seeds.seeds)} seeds were trained, which differ in chance alone; this is that of "
        f"seed {seeds.best}, with the best validation {metric_name(seeds.metric)}. Mean ± standard "
        "deviation over them:",
        "",
    ]
    for what, spread in seeds.spreads.items():
        scores = ", ".join(
            f"{metric_name(name)} {value:.2f} ± {spread.deviation.get(name) or 0:.2f}"
            for name, value in spread.mean.items()
            if value is not None
        )
        lines.append(f"- {escaped(what)}: {scores}")
    return Markdown("\n".join(lines))


def export_words(facts: Facts) -> Markdown:
    """What the table of exports is of."""
    machines = list(dict.fromkeys(row.machine for row in facts.exports if row.machine))
    splits = dict.fromkeys((row.num_examples, row.split) for row in facts.exports if row.split)
    on = ", ".join(f"{number:,} {escaped(split)} examples" for number, split in splits)
    words = [f"Scores on {on}." if on else "They were not scored."]
    words += [f"Speed on {escaped('; '.join(machines))}."] if machines else []
    return Markdown(" ".join(words))


def training_words(facts: Facts) -> Markdown:
    """How it was tuned, in two sentences."""
    made = facts.training
    skipped = (
        f" {made.num_skipped:,} updates were skipped for a bad loss." if made.num_skipped else ""
    )
    versions = ", ".join(f"{escaped(name)} {escaped(v)}" for name, v in made.versions.items())
    return Markdown(
        f"{made.num_steps:,} updates of {escaped(made.batch)}, {made.epochs:.2f} epochs of "
        f"{made.num_tokens:,} {escaped(made.unit)}, on {escaped(made.device)} in "
        f"{escaped(made.precision)}; {made.seconds / 60:.1f} minutes, scoring included.{skipped} "
        f"With {versions}."
    )


def license_words(facts: Facts) -> Markdown:
    """The licence of the model."""
    if facts.license is None:
        return Markdown("Not stated. Ask whoever gave you the model before passing it on.")
    of_base = ", as the model that it was tuned from"
    return Markdown(
        f"{escaped(facts.license)}{of_base if facts.license == facts.base.license else ''}."
    )


def _name(facts: Facts) -> str:
    base = facts.base
    if base.kind == "embedded":
        return f"{code(base.name)}, the small model that comes with Attuner"
    return str(code(base.name))


def _listed(sources: list[Source]) -> str:
    shown = ", ".join(_source(source) for source in sources[:_MOST_SOURCES])
    more = len(sources) - _MOST_SOURCES
    return f"{shown} and {more} more" if more > 0 else shown


def _source(source: Source) -> str:
    parts = (source.config, source.split if source.hub_id else None, source.revision)
    of = ", ".join(code(part) for part in parts if part)
    return code(source.name) + (f" ({of})" if of else "")


def _millions(number: int) -> str:
    return f"{number:,}" if number < 1e6 else f"{number / 1e6:.1f} million"


def _share(base: Base) -> str:
    share = base.num_trained / max(base.num_parameters, 1)
    return f"{base.num_trained:,} of {base.num_parameters:,} parameters ({share:.1%})"
