"""How much of a batch is padding, and what other ways to make batches leave of it.

    python docs/pictures/padding.py [--output FOLDER]

prints the table of docs/explanation/padding.md and draws its pictures, of the demo's strings in the
tokens of the embedded model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from drawing import GREY, ORANGE, PALE, TEAL, demo_examples, parser, save, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attuner.data.batching import BatchPlan
from attuner.data.features import Ints
from attuner.data.line_pairs import training_pairs
from attuner.models.codec import load_codec
from attuner.models.layout import num_filling
from attuner.models.loading import resolve_model

MAX_TOKENS = 128
SHUFFLES = 20


@dataclass(frozen=True)
class Lengths:
    """Tokens of each pair of strings, end token included, cut at 128."""

    source: Ints
    target: Ints


def demo_lengths() -> Lengths:
    """Those of the demo's strings."""
    sources, targets, _ = zip(*training_pairs(demo_examples()), strict=True)
    codec = load_codec(resolve_model("embedded:en-fr"))
    sides = codec.encode_source(sources), codec.encode_target(targets)
    return Lengths(*(np.minimum(side.lengths, MAX_TOKENS) for side in sides))


def random_batches(num: int, size: int) -> Iterator[Ints]:
    """Batches of `size` strings in random order, of several shuffles."""
    for seed in range(SHUFFLES):
        order = np.random.default_rng(seed).permutation(num)
        yield from np.split(order, range(size, num, size))


def alike_batches(lengths: Ints, size: int) -> Iterator[Ints]:
    """The same, sorted by length within 50 batches, as transformers' `group_by_length` has it."""
    for seed in range(SHUFFLES):
        order = np.random.default_rng(seed).permutation(len(lengths))
        for pool in np.split(order, range(50 * size, len(order), 50 * size)):
            by_length = pool[np.argsort(-lengths[pool], kind="stable")]
            yield from np.split(by_length, range(size, len(pool), size))


def padding(lengths: Ints, batches: Iterator[Ints]) -> float:
    """The share of positions that are padding, where each batch is as wide as its longest row."""
    real = places = 0
    for rows in batches:
        real += int(lengths[rows].sum())
        places += len(rows) * int(lengths[rows].max())
    return 1 - real / places


def filling(lengths: Lengths) -> list[float]:
    """The share of positions that fill up packed rows, of sources and targets."""
    plan = BatchPlan(lengths.target, lengths.source, batch_tokens=2048)
    updates = [update.rows for update in islice(plan, plan.num_updates(SHUFFLES))]
    shares = []
    for side in (lengths.source, lengths.target):
        real = [int(side[rows].sum()) for rows in updates]
        filled = sum(map(num_filling, real))
        shares.append(filled / (sum(real) + filled))
    return shares


def padding_table(lengths: Lengths) -> str:
    """The page's table."""
    sides = (lengths.source, lengths.target)
    num = len(lengths.target)
    ways = {
        f"{size} strings in random order": [
            padding(side, random_batches(num, size)) for side in sides
        ]
        for size in (8, 32, 128)
    }
    ways["32 strings of like length"] = [
        padding(side, alike_batches(lengths.source, 32)) for side in sides
    ]
    ways["packed in one row, as Attuner does"] = filling(lengths)
    rows = [(way, *(f"{100 * share:.0f} %" for share in shares)) for way, shares in ways.items()]
    return table(["batches of", "padding in sources", "in targets"], rows)


def draw_lengths(figure: Figure, lengths: Ints) -> None:
    """How long strings are, and how long the longest of 32 is."""
    axes = figure.subplots()
    longest = np.mean([lengths[rows].max() for rows in random_batches(len(lengths), 32)])
    axes.hist(lengths, bins=range(1, MAX_TOKENS + 4, 3), color=PALE)
    marks = {"mean": (lengths.mean(), TEAL), "longest of 32, mean": (longest, ORANGE)}
    for (name, (value, color)), height in zip(marks.items(), (0.94, 0.5), strict=True):
        axes.axvline(value, color=color)
        axes.text(
            value + 2, height, f"{name}: {value:.0f}", color=color,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.set(xlabel="target tokens of a string", ylabel="strings", xlim=(0, MAX_TOKENS))


def draw_batch(figure: Figure, lengths: Ints) -> None:
    """One batch, with and without its padding, in the same scale."""
    batches = islice(random_batches(len(lengths), 32), len(lengths) // 32)
    usual = padding(lengths, random_batches(len(lengths), 32))
    rows = min(batches, key=lambda rows: abs(padding(lengths, iter([rows])) - usual))
    chosen, width = lengths[rows], int(lengths[rows].max())
    num_packed = -(-int(chosen.sum()) // width)
    above, below = figure.subplots(2, height_ratios=(32, num_packed))
    above.barh(range(32), np.full(32, width), height=1, color=PALE)
    above.barh(range(32), chosen, height=0.8, color=TEAL)
    share = padding(lengths, iter([rows]))
    above.set_title(f"padded: {32 * width:,} places, {100 * share:.0f} % of them empty", loc="left")
    _draw_packed(below, chosen, width)
    below.set_title(f"packed: {int(chosen.sum()):,} places, the same strings", loc="left")
    for axes, num in ((above, 32), (below, num_packed)):
        axes.set(xlim=(0, width), ylim=(num - 0.4, -0.6), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    below.set_xlabel("one row a string above; one long row, cut to fit, below", color=GREY)


def _draw_packed(axes: Axes, lengths: Ints, width: int) -> None:
    """Strings end to end, in lines of `width` tokens; neighbours in two shades."""
    start = 0
    for number, length in enumerate(lengths.tolist()):
        color = (TEAL, "#4db6ac")[number % 2]
        end = start + length
        while start < end:
            line, left = divmod(start, width)
            part = min(end - start, width - left)
            axes.barh(line, part, left=left, height=0.8, color=color)
            start += part


def main() -> None:
    """Print the table, draw the pictures."""
    args = parser(__doc__).parse_args()
    lengths = demo_lengths()
    print(padding_table(lengths))
    save(args.output / "lengths.svg", lambda f: draw_lengths(f, lengths.target), height=2.6)
    save(args.output / "padding.svg", lambda f: draw_batch(f, lengths.target), height=4.4)


if __name__ == "__main__":
    main()
