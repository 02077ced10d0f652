"""How many test strings a random split has in training, and what they do to a score.

    python docs/pictures/leaks.py [--output FOLDER] [--max-steps N]

counts in the demo's strings, then tunes the embedded model on a random split and scores it on the
test strings that are in training and on those that are not. Prints the tables of
docs/explanation/split.md and draws its pictures. Takes minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from drawing import DATA, GREY, ORANGE, PALE, TEAL, demo_examples, parser, save, table
from matplotlib.figure import Figure

import attuner
from attuner.data.leaks import find_leaks
from attuner.data.splitting import group_keys, normalised, split_groups, split_random

SPLIT = {"validation": 0, "test": 0.1}


@dataclass(frozen=True)
class Division:
    """What the test part of a way to split has of training.

    Attributes:
        way: Its name.
        num_test: Test strings.
        num_pairs: Those that are in training, translation included.
        num_sources: Those whose source text is in training.
    """

    way: str
    num_test: int
    num_pairs: int
    num_sources: int


def divisions() -> list[Division]:
    """Three ways to split the demo's strings."""
    everything, once = demo_examples(duplicates="keep"), demo_examples()
    sizes = {**SPLIT, "seed": 20}
    by_source = split_groups(group_keys(once, "source"), by="source", **sizes)
    ways = {
        "random rows": (everything, split_random(len(everything), train_size=None, **sizes)),
        "random, each pair once": (once, split_random(len(once), train_size=None, **sizes)),
        "whole source texts": (once, by_source),
    }
    found = []
    for way, (examples, rows) in ways.items():
        train, test = ([examples[row] for row in part] for part in (rows.train, rows.test))
        leaks = find_leaks(train, test=test)
        pairs, sources = (leaks[0].num_pairs, leaks[0].num_sources) if leaks else (0, 0)
        found.append(Division(way, len(test), pairs, sources))
    return found


def divisions_table(found: Sequence[Division]) -> str:
    """How much leaks."""
    rows = [
        (
            d.way,
            f"{d.num_test:,}",
            f"{d.num_sources:,}",
            f"{100 * d.num_sources / d.num_test:.0f} %",
        )
        for d in found
    ]
    return table(["split by", "test strings", "source also in training", "share"], rows)


def tuned_on_random_rows(folder: Path, max_steps: int | None) -> dict[str, list[dict[str, str]]]:
    """Test strings before and after tuning: those that are in training, and the others."""
    recipe = attuner.Recipe(
        task={"name": "translation", "source": "en", "target": "fr"},
        model="embedded:en-fr",
        data={"train": DATA, "split": {"by": "random", **SPLIT}, "duplicates": "keep"},
        training={
            "epochs": 8, "max_steps": max_steps, "batch_tokens": 1024, "learning_rate": 5e-4,
            "label_smoothing": 0.1, "evaluate": "none",
        },
        output={"folder": str(folder)},
    )  # fmt: skip
    run = attuner.train(recipe, listeners=[])
    lines = (run.folder / "translations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    everything = demo_examples(duplicates="keep")
    divided = split_random(len(everything), train_size=None, seed=20, **SPLIT)
    learned = {normalised(everything[row].source) for row in divided.train}
    parts: dict[str, list[dict[str, str]]] = {"in training": [], "not in training": []}
    for row in rows:
        seen = normalised(row["source"]) in learned
        parts["in training" if seen else "not in training"].append(row)
    return {"all": rows, **parts}


def chrf(rows: Sequence[dict[str, str]], when: str) -> float:
    """The score of what was said."""
    metric = attuner.metric("chrf")
    score: float = metric.compute(
        predictions=[row[when] for row in rows],
        references=[row["references"][:1] for row in rows],
    )["score"]
    return score


def scores_table(parts: dict[str, list[dict[str, str]]]) -> str:
    """What is scored where."""
    rows = []
    for name, part in parts.items():
        before, after = chrf(part, "before"), chrf(part, "after")
        rows.append(
            (name, f"{len(part)}", f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}")
        )
    return table(["source text", "test strings", "before", "after", "gain"], rows)


def draw_divisions(figure: Figure, found: Sequence[Division]) -> None:
    """A bar for each way to split."""
    axes = figure.subplots()
    places = range(len(found))
    start = [0.0] * len(found)
    for name, color, counts in (
        ("word for word", ORANGE, [d.num_pairs for d in found]),
        ("source text only", "#ffb74d", [d.num_sources - d.num_pairs for d in found]),
        ("new", PALE, [d.num_test - d.num_sources for d in found]),
    ):
        shares = [100 * n / d.num_test for n, d in zip(counts, found, strict=True)]
        axes.barh(places, shares, left=start, color=color, height=0.55, label=name)
        start = [a + b for a, b in zip(start, shares, strict=True)]
    for place, division in enumerate(found):
        axes.text(0, place - 0.33, division.way, va="bottom")
    axes.set(ylim=(len(found) - 0.6, -0.75), xlim=(0, 100), yticks=[])
    axes.set_xlabel("test strings that training has seen, in percent")
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, columnspacing=1, handlelength=1)


def draw_scores(figure: Figure, parts: dict[str, list[dict[str, str]]]) -> None:
    """Scores before and after, of each part."""
    axes = figure.subplots()
    for place, (name, part) in enumerate(parts.items()):
        before, after = chrf(part, "before"), chrf(part, "after")
        color = TEAL if name == "not in training" else ORANGE
        axes.plot([before, after], [place, place], color=color, linewidth=3)
        axes.plot([before], [place], "o", color="white", markeredgecolor=color, markersize=8)
        axes.plot([after], [place], "o", color=color, markersize=8)
        axes.text(before, place - 0.2, f"{name} ({len(part)}): {after - before:+.1f}", va="bottom")
    axes.set(ylim=(len(parts) - 0.6, -0.8), yticks=[])
    axes.set_xlabel("chrF on test strings, before ○ and after ● tuning", color=GREY)
    axes.spines["left"].set_visible(False)


def main() -> None:
    """Print the tables, draw the pictures."""
    options = parser(__doc__)
    options.add_argument("--max-steps", type=int, help="only so many updates")
    args = options.parse_args()
    found = divisions()
    print(divisions_table(found), flush=True)
    save(args.output / "leaks.svg", lambda f: draw_divisions(f, found), height=2.7)
    with TemporaryDirectory(prefix="attuner-picture-") as folder:
        parts = tuned_on_random_rows(Path(folder), args.max_steps)
    print(f"\n{scores_table(parts)}")
    save(args.output / "leaks-score.svg", lambda f: draw_scores(f, parts), height=2.4)


if __name__ == "__main__":
    main()
