"""The words for what happens in a run: pure functions from facts to lines."""

from __future__ import annotations

from collections.abc import Sequence

from attuner.training.events import (
    Compared,
    DataPrepared,
    Delivered,
    Evaluated,
    Finished,
    Planned,
)

_METRIC_NAMES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "loss": "loss"}
_MOST_SOURCES = 4  # a catalog package holds dozens of files


def metric_name(metric: str) -> str:
    """A metric as its authors write it."""
    return _METRIC_NAMES.get(metric, metric)


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(4.2), duration(140), duration(7320)
    ('4 s', '2 min 20 s', '2 h 02 min')
    """
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def printable(text: str) -> str:
    r"""The text on one line, control characters as escapes.

    >>> printable("a\tb\x1b[0m")
    'a\\tb\\x1b[0m'
    """
    return "".join(
        char if char.isprintable() or char == "\u00a0" else char.encode("unicode_escape").decode()
        for char in text
    )


def data_lines(event: DataPrepared) -> list[str]:
    """What was read, what was skipped and why, how it was split."""
    lines = []
    for row, counts in event.counts.items():
        total = f"{sum(counts.values()):,}"
        if row == "read" and len(counts) > _MOST_SOURCES:
            parts = f"from {len(counts)} files"
        else:
            parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        lines.append(f"{row.capitalize():10}{total:>9}  {parts}".rstrip())
    return [*lines, *event.notes]


def plan_lines(event: Planned) -> list[str]:
    """What the loop will do, on what."""
    accumulation = f", in {event.accumulation} micro-batches" if event.accumulation > 1 else ""
    resumed = f", going on after step {event.first_step:,}" if event.first_step else ""
    return [
        f"Training  {event.num_examples:,} examples ({event.num_target_tokens:,} target tokens), "
        f"{event.num_epochs:g} epochs",
        f"Updates   {event.num_steps:,} steps of {event.batch}{accumulation}{resumed}",
        f"Model     {event.num_parameters / 1e6:.1f} million parameters, on {event.device}, "
        f"{event.precision}, {event.batches}",
    ]


def score_header(metrics: Sequence[str]) -> str:
    """The head of the growing table."""
    names = "".join(f"{metric_name(name):>9}" for name in metrics)
    return f"{'epoch':>8}{'training loss':>15}{'validation loss':>17}{names}"


def score_row(event: Evaluated, metrics: Sequence[str]) -> str:
    """A row of the growing table; the best so far carries a star."""
    epoch = "before" if event.when == "before" else f"{event.epoch:.2f}"
    train_loss = "" if event.train_loss is None else f"{event.train_loss:.4f}"
    loss = f"{event.scores['loss']:.4f}" if "loss" in event.scores else ""
    scores = "".join(
        f"{event.scores[name]:9.2f}" if name in event.scores else f"{'':9}" for name in metrics
    )
    star = "  * best so far" if event.is_best else ""
    return f"{epoch:>8}{train_loss:>15}{loss:>17}{scores}{star}"


def finished_lines(event: Finished) -> list[str]:
    """How long the loop took, and how fast it was."""
    seconds = max(event.train_seconds, 1e-9)
    best = "" if event.best_step is None else f" Best weights: step {event.best_step:,}."
    stopped = " Stopped early." if event.reason == "early stopping" else ""
    return [
        "",
        f"Trained {event.num_steps:,} steps in {duration(event.seconds)}, evaluations included: "
        f"{event.num_examples / seconds:.1f} sentences/s, {event.num_steps / seconds:.2f} steps/s "
        f"while updating.{stopped}{best}",
    ]


def score_line(event: Evaluated) -> str:
    """The scores of a split on one line."""
    scores = ", ".join(f"{metric_name(name)} {value:.2f}" for name, value in event.scores.items())
    return f"{event.split.capitalize()} {event.when} tuning: {scores}"


def comparison_lines(event: Compared) -> list[str]:
    """How many translations changed, and how."""
    return [
        "",
        f"Of {event.num_examples:,} held-out entries, {event.num_changed:,} are translated "
        f"differently: {event.num_nearer:,} nearer to the reference, {event.num_further:,} "
        "further from it (sentence chrF).",
        "Those that gained most:" if event.rows else "None came nearer.",
    ]


def result_lines(event: Delivered, arrow: str = "->") -> list[str]:
    """The final scores with the settings behind them, where the model lies, how to use it."""
    lines = [""]
    if event.after:
        lines.append(f"Scores on {event.split}, before {arrow} after tuning:")
    for name, after in event.after.items():
        before = event.before.get(name)
        change = "" if before is None else f"{before:.2f} {arrow} "
        gain = "" if before is None else f"  ({after - before:+.2f})"
        lines.append(f"  {metric_name(name):5}  {change}{after:.2f}{gain}")
    lines += [f"  {metric_name(name)}: {text}" for name, text in event.signatures.items()]
    model = event.model_folder
    return [
        *lines,
        "",
        f"The tuned model is in {model} ({duration(event.seconds)} in all). Use it",
        f'  in a shell:         attuner translate {model} "Open the file"',
        f'  in Python:          attuner.load("{model}").translate("Open the file")',
        f'  with transformers:  AutoModelForSeq2SeqLM.from_pretrained("{model}")',
    ]
