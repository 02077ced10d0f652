"""How the answer of `attuner check` looks: tables where they fit, the same words in a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from attuner.console import encodable
from attuner.console_text import data_lines, duration, printable
from attuner.data.suspicion import REASONS
from attuner.training.events import DataPrepared

if TYPE_CHECKING:
    from attuner.data.inspection import Inspection, Lengths, RoundTrip
    from attuner.training.check import Checked, Shown, ShownLine
    from attuner.training.cost import Cost

_MOST_CHARACTERS = 12
_LONGEST_CELL = 160


def render(checked: Checked, console: Console) -> None:
    """Print what a check found.

    Args:
        checked: The answer of `training.check.check`.
        console: Where to.
    """
    if checked.inspection is not None:
        _render_data(checked.inspection, console)
        unit = "text" if checked.inspection.whole_texts else "line"
        lengths_table(checked.inspection.lengths, unit, console)
        _render_suspicious(checked.inspection, console)
        for trip in checked.inspection.round_trips:
            _render_round_trip(trip, console)
    if checked.self_check is not None:
        say(console, ["", *checked.self_check.lines])
    if checked.cost is not None:
        say(console, ["", *cost_lines(checked.cost)])
    if checked.num_found is not None:
        hold = "example holds" if checked.num_found == 1 else "examples hold"
        say(console, [f"{checked.num_found:,} {hold} this text."])
    if checked.inspection is not None and checked.shown:
        say(console, ["", "The first examples as the model sees them:"])
    for shown in checked.shown:
        say(console, ["", *example_lines(shown)])


def cost_lines(cost: Cost, scoring: str = "translating for the scores") -> list[str]:
    """Steps, time and memory in words; `scoring` is what takes the time beside training."""
    computing = ", ".join(filter(None, (cost.device, cost.precision, cost.kernels, cost.batches)))
    total = cost.training_seconds + cost.evaluation_seconds
    return [
        f"Updates   {cost.num_steps:,} steps of {cost.batch}, {cost.seconds_a_step:.2f} s each "
        f"(measured on {cost.measured_steps})",
        f"Model     {cost.num_parameters / 1e6:.1f} million parameters, on {computing}",
        f"Time      about {duration(total)}: training {duration(cost.training_seconds)}, "
        f"{scoring} {duration(cost.evaluation_seconds)}",
        f"Memory    {cost.peak_memory_bytes / 2**30:.1f} GB at most while measuring",
        *cost.notes,
    ]


def example_lines(shown: Shown) -> list[str]:
    """One example in full: texts, tokens, and what the untuned model says."""
    context = f", context {shown.context}" if shown.context else ""
    lines = [
        f"Example {shown.row:,} ({shown.part}), {shown.address}{context}",
        f"  source    {printable(shown.source)}",
        *(f"  target    {printable(text)}" for text in shown.references),
    ]
    if shown.output is not None:
        lines.append(f"  untuned   {printable(shown.output)}")
    for side, parts in (("source", shown.source_lines), ("target", shown.target_lines)):
        lines += [f"  {side} {_tokens(line)}" for line in parts]
    return lines


def _tokens(line: ShownLine) -> str:
    kept = " ".join(map(printable, line.tokens[: line.limit]))
    cut = len(line.tokens) - line.limit
    return f"{len(line.tokens):>3} tokens: {kept}" + (f" ... {cut} more are cut" if cut > 0 else "")


def _render_data(inspection: Inspection, console: Console) -> None:
    say(console, data_lines(DataPrepared(inspection.counts, inspection.notes)))
    languages = ", ".join(f"{pair} {n:,}" for pair, n in inspection.languages.items())
    unit, other = ("texts", "targets") if inspection.whole_texts else ("lines", "translations")
    say(
        console,
        [
            f"Languages {languages}",
            f"Learned   {inspection.num_pairs:,} pairs of {unit}; the source of "
            f"{inspection.num_ambiguous:,} examples has other {other} as well",
        ],
    )


def lengths_table(lengths: Iterable[Lengths], unit: str, console: Console) -> None:
    """Print lengths in tokens a line, or whatever `unit` is."""
    rows = [
        (
            f"{row.part} {row.side}",
            *(f"{n:,}" for n in (row.num_lines, row.num_tokens)),
            *(str(n) for n in row.percentiles.values()),
            str(row.longest),
            f"{row.num_too_long:,} over {row.limit}",
        )
        for row in lengths
    ]
    shares = ["50 %", "90 %", "95 %", "99 %"]
    titles = [f"tokens a {unit}", f"{unit}s", "tokens", *shares, "longest", "too long"]
    table(console, titles, rows, numbers=range(1, len(titles)))


def _render_suspicious(inspection: Inspection, console: Console) -> None:
    for suspicion in inspection.suspicious:
        pairs = "pair" if suspicion.count == 1 else "pairs"
        reason = REASONS[suspicion.reason]
        say(console, ["", f"{suspicion.count:,} {pairs} to look at: {reason}."])
        rows = [
            (_where(suspect.address), suspect.source, suspect.target, suspect.detail)
            for suspect in suspicion.shown
        ]
        table(console, ["where", "source", "target", "what"], rows)


def _render_round_trip(trip: RoundTrip, console: Console) -> None:
    if not trip.lost and not trip.num_changed:
        say(console, ["", f"The tokenizer keeps every character of the {trip.side} side."])
        return
    total = sum(lost.count for lost in trip.lost)
    say(
        console,
        [
            "",
            f"The tokenizer loses {len(trip.lost):,} different characters of the {trip.side} side, "
            f"{total:,} in all; of {trip.num_tried:,} lines tried, {trip.num_changed:,} come back "
            "changed.",
        ],
    )
    shown = trip.lost[:_MOST_CHARACTERS]
    rows = [(lost.character, lost.name, f"{lost.count:,}", lost.fate) for lost in shown]
    table(console, ["", "character", "times", "fate"], rows, numbers=[2])
    if len(trip.lost) > len(shown):
        say(console, [f"... and {len(trip.lost) - len(shown):,} more (all with --json)."])


def table(
    console: Console,
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
) -> None:
    """Print a table; `numbers` are the columns that stand on the right."""
    from rich import box

    right = set(numbers)
    table = Table(box=box.SIMPLE if console.is_terminal else box.ASCII2, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(encodable(_short(printable(cell)), console)) for cell in row))
    console.print(table)


def say(console: Console, lines: Sequence[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(Text(encodable(line, console)), soft_wrap=True)


def _where(address: str) -> str:
    """The address without its folders; entries of MO files have their whole text in it."""
    return _short(address.replace("\\", "/").rsplit("/", 1)[-1], 40)


def _short(text: str, longest: int = _LONGEST_CELL) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
