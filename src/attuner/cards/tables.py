"""The tables of a card: pure functions from its facts."""

from __future__ import annotations

from collections.abc import Sequence

from attuner.cards.facts import Evaluation, Facts
from attuner.cards.markdown import Markdown, table
from attuner.evaluation.metric_names import interval_text, metric_name

# More rows than these are hard to read: a package of catalogs has dozens of files, and a run can
# have hundreds of evaluations.
_MOST_FILES = 6
_MOST_ROWS = 12
_MOST_EVALUATIONS = 30


def score_table(facts: Facts) -> Markdown:
    """Scores before and after; "" where nothing is held out."""
    scored = facts.scored
    if not scored.after:
        return Markdown()
    rows = []
    for name, after in scored.after.items():
        before = scored.before.get(name)
        digits = 4 if name == "loss" else 2
        gain = "" if before is None or after is None else f"{after - before:+.{digits}f}"
        rows.append(
            (
                metric_name(name),
                f"{_number(before, name)}{_interval(facts, 'before', name)}",
                f"{_number(after, name)}{_interval(facts, 'after', name)}",
                gain,
            )
        )
    return table((f"on {scored.split}", "before", "after", "change"), rows, numbers=3)


def counts_table(facts: Facts) -> Markdown:
    """Numbers of examples by what became of them; of many, the largest."""
    rows = []
    for what, counts in facts.data.counts.items():
        if not counts:
            rows.append((what, "nothing", "0"))
            continue
        if what == "read" and len(counts) > _MOST_FILES:
            rows.append((what, f"from {len(counts)} files", f"{sum(counts.values()):,}"))
            continue
        largest = sorted(counts, key=lambda name: -counts[name])[:_MOST_ROWS]
        rows += [(what, name, f"{counts[name]:,}") for name in counts if name in largest]
        if len(counts) > len(largest):
            rest = sum(counts.values()) - sum(counts[name] for name in largest)
            rows.append((what, f"{len(counts) - len(largest)} others", f"{rest:,}"))
        if len(counts) > 1:
            rows.append((what, "in all", f"{sum(counts.values()):,}"))
    return table(("", "", "number"), rows, numbers=1)


def epoch_table(facts: Facts) -> Markdown:
    """Validation scores while training; "" where there was no evaluation."""
    shown = _thinned(facts.evaluations)
    if not any(row.when != "before" for row in shown):
        return Markdown()
    names = list(dict.fromkeys(name for row in shown for name in row.scores))
    best = next((row for row in reversed(facts.evaluations) if row.is_best), None)
    rows = []
    for row in shown:
        epoch = row.when if row.when in ("before", "mean") else f"{row.epoch:.2f}"
        star = " *" if row is best else ""
        loss = "" if row.train_loss is None else f"{row.train_loss:.4f}"
        rows.append(
            (f"{epoch}{star}", loss, *(_number(row.scores.get(name), name) for name in names))
        )
    head = ("epoch", "training loss", *(_heading(name) for name in names))
    return table(head, rows, numbers=len(head) - 1)


def label_table(facts: Facts) -> Markdown:
    """How good each label is; "" where the model gives none."""
    if not facts.labels:
        return Markdown()
    rows = [
        (row.name, f"{row.precision:.2f}", f"{row.recall:.2f}", f"{row.f1:.2f}",
         f"{row.num_examples:,}")
        for row in facts.labels
    ]  # fmt: skip
    return table(("label", "precision", "recall", "F1", "examples"), rows, numbers=4)


def shown_table(facts: Facts) -> Markdown:
    """Held-out examples; "" where none are shown."""
    if not facts.shown:
        return Markdown()
    rows = [
        (" / ".join(filter(None, (row.source, row.pair))), row.before, row.after, row.reference)
        for row in facts.shown
    ]
    truth = "label" if facts.task == "classification" else "reference"
    return table(("text", "before", "after", truth), rows)


def export_table(facts: Facts) -> Markdown:
    """Other formats of the model: size, speed and scores; "" where none were made."""
    if not facts.exports:
        return Markdown()
    names = list(dict.fromkeys(name for row in facts.exports for name in row.scores))
    rows = [
        (
            row.name,
            f"{row.num_bytes / 1e6:,.1f} MB",
            "" if row.per_second is None else f"{row.per_second:,.1f}",
            *(_number(row.scores.get(name), name) for name in names),
        )
        for row in facts.exports
    ]
    what = "texts/s" if facts.task == "classification" else "sentences/s"
    head = ("", "size", what, *(metric_name(name) for name in names))
    return table(head, rows, numbers=len(head) - 1)


def _heading(name: str) -> str:
    return "validation loss" if name == "loss" else metric_name(name)


def _number(value: float | None, name: str) -> str:
    if value is None:
        return "no number"
    return f"{value:.4f}" if name == "loss" else f"{value:.2f}"


def _interval(facts: Facts, when: str, name: str) -> str:
    return interval_text(facts.scored.intervals.get(when, {}).get(name))


def _thinned(rows: Sequence[Evaluation]) -> list[Evaluation]:
    """At most so many rows at even distances: the first, the last and each best among them."""
    every = -(-len(rows) // _MOST_EVALUATIONS)
    best = [place for place, row in enumerate(rows) if row.is_best][-1:]
    return [
        row
        for place, row in enumerate(rows)
        if place % max(every, 1) == 0 or place == len(rows) - 1 or place in best
    ]
