"""A run that was killed and resumed, beside one that was let alone and one begun anew from weights.

    python docs/pictures/resume.py [--output FOLDER] [--steps 30]

tunes the embedded model on the demo's strings: without interruption; killed with SIGKILL and
resumed; and by a new run from the weights of the last checkpoint before the kill, as one goes on
where only weights were saved. Draws the picture of docs/explanation/exact-resume.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from drawing import DATA, GREY, ORANGE, TEAL, parser, save
from matplotlib.figure import Figure

import attuner
from attuner.training.events import Event, Stepped

Losses = dict[int, float]


def recipe(folder: Path, name: str, *, steps: int, save_every: int, model: str) -> attuner.Recipe:
    """One that does nothing but train, at a constant rate, so that its length changes nothing."""
    return attuner.Recipe(
        task={"name": "translation", "source": "en", "target": "fr"},
        model=model,
        data={"train": DATA, "split": {"validation": 0, "test": 0}},
        training={
            "max_steps": steps, "batch_tokens": 1024, "schedule": "constant", "evaluate": "none",
            "save": "steps", "save_every_steps": save_every, "best_metric": "loss",
        },
        output={"folder": str(folder), "name": name},
    )  # fmt: skip


class Noted:
    """A listener that keeps the loss of each update, and may kill its own process after one."""

    def __init__(self, *, die_at: int | None = None) -> None:
        self.losses: Losses = {}
        self._die_at = die_at

    def __call__(self, event: Event) -> None:
        """Keep the loss of an update."""
        if isinstance(event, Stepped):
            self.losses[event.step] = event.loss
            if event.step == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def three_runs(folder: Path, steps: int) -> tuple[Losses, Losses, Losses]:
    """Loss by update: let alone, killed and resumed, begun anew from weights.

    Checkpoints are written after each third; the kill comes after five sixths.
    """
    third = steps // 3
    alone = Noted()
    options = {"save_every": third, "model": "embedded:en-fr"}
    attuner.train(recipe(folder, "alone", steps=steps, **options), listeners=[alone])

    arguments = ["--steps", str(steps), "--killed-in", str(folder)]
    killed = subprocess.run([sys.executable, __file__, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL, "the run was not killed"
    resumed = Noted()
    attuner.train(resume=folder / "killed", listeners=[resumed])

    attuner.train(recipe(folder, "weights", steps=2 * third, **options), listeners=[])
    anew = Noted()
    weights = str(folder / "weights" / "model")
    again = recipe(folder, "anew", steps=steps - 2 * third, save_every=third, model=weights)
    attuner.train(again, listeners=[anew])
    return alone.losses, resumed.losses, {2 * third + s: loss for s, loss in anew.losses.items()}


def draw(figure: Figure, alone: Losses, resumed: Losses, anew: Losses) -> None:
    """Losses above; what they differ from the uninterrupted run below."""
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    above.plot(list(alone), list(alone.values()), color=GREY, label="let alone")
    for losses, color, name, style in (
        (anew, ORANGE, "weights only", "-"),
        (resumed, TEAL, "killed, resumed", "."),
    ):
        above.plot(list(losses), list(losses.values()), style, color=color, label=name)
        differences = [loss - alone[step] for step, loss in losses.items()]
        below.plot(list(losses), differences, style, color=color)
    start, killed = min(resumed), len(alone) * 5 // 6
    for axes in (above, below):
        axes.axvline(start - 0.5, color=GREY, linestyle=":")
        axes.axvline(killed + 0.5, color=GREY, linestyle="--")
    above.set_ylabel("loss, nats")
    below.set_ylabel("difference")
    below.set_xlabel("update (dotted: last checkpoint, dashed: kill)")
    figure.legend(loc="outside upper left", ncols=3, columnspacing=1, handlelength=1)


def main() -> None:
    """Run, say what differs, draw."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=30, help="updates of a run")
    options.add_argument("--killed-in", type=Path, help="be the run that is killed, in this folder")
    args = options.parse_args()
    if args.killed_in:
        third = args.steps // 3
        doomed = recipe(
            args.killed_in, "killed", steps=args.steps, save_every=third, model="embedded:en-fr"
        )
        attuner.train(doomed, listeners=[Noted(die_at=args.steps * 5 // 6)])
        return
    with TemporaryDirectory(prefix="attuner-picture-") as folder:
        alone, resumed, anew = three_runs(Path(folder), args.steps)
    for name, losses in (("killed and resumed", resumed), ("anew from its weights", anew)):
        difference = max(abs(loss - alone[step]) for step, loss in losses.items())
        print(f"{name}: the losses of {len(losses)} updates differ by {difference:.3g} at most")
    save(args.output / "resume.svg", lambda f: draw(f, alone, resumed, anew), height=3.8)


if __name__ == "__main__":
    main()
