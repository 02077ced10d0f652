"""What a reader should know before relying on a model: what its facts themselves say against it."""

from __future__ import annotations

from collections.abc import Iterator

from attuner.cards.facts import Facts
from attuner.cards.markdown import Markdown, code, escaped
from attuner.cards.sentences import language
from attuner.evaluation.known_metrics import higher_is_better
from attuner.evaluation.metric_names import metric_name

# With fewer held-out examples, a score is said to be a rough one.
_FEW = 300


def limits(facts: Facts) -> list[Markdown]:
    """Sentences, each a paragraph of a list."""
    return [Markdown(sentence) for sentence in _limits(facts)]


def _limits(facts: Facts) -> Iterator[str]:
    scored, use = facts.scored, facts.use
    if facts.task == "translation":
        targets = ", ".join(map(language, use.targets))
        yield f"It was tuned for {language(use.source)} into {targets} alone."
    yield (
        "It was tuned and scored on texts of the sources above: on others it can be better or "
        "worse than what it was tuned from. Score it on your own: "
        f"{code(f'attuner evaluate {facts.address} DATA')}."
    )
    if facts.so_far:
        yield (
            "The run was not over. Its result is scored anew, on test examples where it has any: "
            "scores on validation examples, by which weights are chosen, are flattering."
        )
    elif not scored.split:
        yield "Nothing was held out, so that nothing is known of how good it is."
    elif scored.split == "validation":
        yield (
            "There was no test split: its scores are on the validation examples, on which the "
            "weights were chosen, and are flattering for it."
        )
    if scored.split and scored.num_examples < _FEW:
        yield (
            f"Only {scored.num_examples:,} examples were held out: differences of a point or two "
            "may be chance."
        )
    worse = [name for name in scored.after if _is_worse(facts, name)]
    if worse:
        yield f"By {', '.join(map(metric_name, worse))} it is worse than what it was tuned from."
    if use.max_tokens:
        yield f"Texts of more than {use.max_tokens:,} tokens are cut there."
    if facts.task != "classification":
        yield "It may leave out, repeat or invent: have a person read what matters."
    if use.kind == "single":
        yield "It gives one of its labels to any text, also to one that has none of them."
    if facts.base.is_separate:
        yield f"It is an adapter: without {escaped(facts.base.name)} it cannot be used."


def _is_worse(facts: Facts, name: str) -> bool:
    before, after = facts.scored.before.get(name), facts.scored.after[name]
    if before is None or after is None:
        return False
    return after < before if higher_is_better(name) else after > before
