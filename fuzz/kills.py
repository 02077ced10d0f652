"""Kill runs at random moments, resume them, and compare them with runs that were let alone.

Each run is a process of its own that does what `attuner train RECIPE --resume` does. It is killed
(SIGKILL) after a random time, or at the entry of a function where a kill might hurt most, or asked
to stop (SIGTERM, Ctrl-C); it is started again, by the same command, until it ends. Then weights,
optimizer, random states, metrics but for times, translations and the order of the data must be
those of a run that was never interrupted, bit for bit.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Options = Sequence[str]

# What each run is killed with must be found again: dropout, means, adapters, copies, patience.
RECIPES: Mapping[str, Options] = {
    "plain": ("model.dropout=0.2", "training.precision=fp32", "training.best_metric=loss"),
    "ema-bf16": ("training.ema.decay=0.9", "training.precision=bf16", "model.dropout=0.1"),
    "lora": (
        "model.adapter.kind=lora", "model.adapter.dropout=0.2", "training.average_checkpoints=2",
    ),
    "early": (
        "training.early_stopping.patience=2", "training.best_metric=loss",
        "training.learning_rate=0.05", "training.keep_checkpoints=1", "training.epochs=9",
    ),
}  # fmt: skip
# Functions at whose entry a process kills itself, by the module that calls them.
AIMS = (
    "attuner.training.checkpoint_folder.seal",  # the files are there, their digests not
    "attuner.training.checkpoint_folder.sync",
    "attuner.training.store.prune",  # the new checkpoint is there, the old ones, too
    "attuner.training.text_judge.token_loss",  # amid an evaluation
    "attuner.training.scorer.write_lines",  # of translations
    "attuner.training.running.choose_weights",
    "attuner.training.jobs.text.write_text_model",  # amid the delivery
    "attuner.training.running.accept",  # amid resuming
)
_REPEATED = AIMS[:4]
_TIMES = ("seconds", "train_seconds", "seconds_before")
_IMPORTS = (
    "torch", "transformers", "accelerate", "ctranslate2", "sacrebleu", "peft", "matplotlib.pyplot",
    "attuner.cli", "attuner.training.run", "attuner.tasks.translation", "attuner.models.adapters",
    "transformers.models.marian.modeling_marian", "attuner.evaluation.report", "attuner.console",
)  # fmt: skip


def main() -> int:
    """The command line; 1 where a run did not end as it would have without interruptions."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs at random moments")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary one if none")
    args = parser.parse_args()
    for name in _IMPORTS:  # once: each run is forked from here
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        os.environ.setdefault("ATTUNER_CACHE", str(folder / "cache"))
        return _kill_all(folder, args.recipes, args.kills, random.Random(args.seed))


def _kill_all(folder: Path, names: Sequence[str], num_kills: int, chance: random.Random) -> int:
    _write_data(folder / "data.jsonl")
    base = _base_model(folder)
    recipes = {name: _recipe(folder, base, RECIPES[name]) for name in names}
    references = {name: Run(folder / name / "whole", recipes[name]) for name in names}
    lengths: dict[str, float] = {}
    for name, run in references.items():
        began = time.perf_counter()
        if code := run.go():
            print(f"{name}: the uninterrupted run ended with {code}\n{run.said()}")
            return 1
        lengths[name] = time.perf_counter() - began
        print(f"{name}: {lengths[name]:.1f} s without interruption", flush=True)
    moments: Counter[str] = Counter()
    aims = iter(AIMS)
    num_runs, faults = 0, 0
    while moments["SIGKILL"] < num_kills or (aim := next(aims, None)) is not None:
        aimed = None if moments["SIGKILL"] < num_kills else aim
        name = names[num_runs % len(names)]
        run = Run(folder / name / f"killed-{num_runs}", recipes[name])
        num_runs += 1
        code = _interrupted(run, lengths[name], aimed, num_kills, moments, chance)
        whole = references[name]
        found = [f"it ended with {code}\n{run.said()}"] if code else run.differences(whole)
        faults += bool(found)
        for fault in found:
            print(f"{run.folder}: {fault}", flush=True)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(moments.items()))
    verdict = f"{faults or 'no'} run ended otherwise than uninterrupted ones."
    print(f"{num_runs} runs, {kinds}: {verdict}")
    return 1 if faults else 0


def _interrupted(
    run: Run,
    seconds: float,
    aim: str | None,
    num_kills: int,
    moments: Counter[str],
    chance: random.Random,
) -> int:
    """Interrupt a run until it ends by itself, and say where each kill met it."""
    if aim is not None:
        if aim.endswith(".accept"):  # there is something to resume then
            run.go(aim="attuner.training.running.choose_weights")
        code = run.go(aim=aim, nth=chance.randrange(1, 4) if aim in _REPEATED else 1)
        if code != -signal.SIGKILL:
            return code or 1  # it was to kill itself
        moments[f"at {aim.rpartition('.')[2]}"] += 1
        return run.go()
    while moments["SIGKILL"] < num_kills:
        sent = chance.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT])
        code = run.go(after=chance.uniform(0.0, seconds), sent=sent)
        if code == 0:
            return 0
        if code not in (-sent, 128 + sent):
            return code
        moments[sent.name] += 1
        moments[f"of them {run.moment()}"] += sent is signal.SIGKILL
    return run.go()


class Run:
    """A run in a working folder of its own.

    Args:
        folder: The working folder.
        options: The recipe, as overrides.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._options = options

    @property
    def _run(self) -> Path:
        return self.folder / "runs/run"

    def go(
        self,
        *,
        after: float | None = None,
        sent: signal.Signals = signal.SIGKILL,
        aim: str = "",
        nth: int = 1,
    ) -> int:
        """Train or go on; returns the exit code, or the signal that ended it, negative.

        Args:
            after: Seconds until the signal is sent; None for never.
            sent: The signal.
            aim: A function at whose entry the process kills itself, or "".
            nth: At which call.
        """
        child = os.fork()
        if child == 0:
            _train(self.folder, self._options, aim, nth)
        if after is not None:
            end = time.monotonic() + after
            while time.monotonic() < end:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.005)
            os.kill(child, sent)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def said(self) -> str:
        """What the last process printed."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def moment(self) -> str:
        """Where a kill met the run, as far as its files tell."""
        if any(self._run.glob("checkpoints/.step-*.partial")):
            return "while a checkpoint was written"
        if not any(self._run.glob("checkpoints/step-*")):
            return "before the first checkpoint"
        if any(line["event"] == "finished" for line in self._metrics()):
            return "while scoring or delivering"
        return "between checkpoints"

    def differences(self, other: Run) -> list[str]:
        """What is not bit for bit as in another run."""
        return [
            f"{what} differ from {other.folder}"
            for what, found in self._results().items()
            if found != other._results()[what]
        ]

    def _results(self) -> dict[str, Any]:
        last = max(self._run.glob("checkpoints/step-*"))
        state = json.loads((last / "state.json").read_text())
        for name in _TIMES:
            del state["loop"][name]
        return {
            "weights": (self._run / "model/model.safetensors").read_bytes(),
            "translations": (self._run / "translations.jsonl").read_text(encoding="utf-8"),
            "metrics": [
                {key: value for key, value in line.items() if key not in _TIMES}
                for line in self._metrics()
            ],
            "data": self._order(),
            "names of checkpoints": sorted(p.name for p in self._run.glob("checkpoints/*")),
            "the last checkpoint": [p.read_bytes() for p in sorted(last.glob("*.safetensors"))],
            "the last state": state,
        }  # fmt: skip

    def _metrics(self) -> list[dict[str, Any]]:
        found = []
        path = self._run / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:  # cut short by the kill
                break
        return found

    def _order(self) -> dict[int, list[int]]:
        """The rows of each update; an update that was made twice must have had the same."""
        found: dict[int, list[int]] = {}
        for line in (self.folder / "order.jsonl").read_text().splitlines():
            try:
                step, rows = json.loads(line)
            except json.JSONDecodeError:
                continue
            if found.setdefault(step, rows) != rows:
                return {}
        return found


def _train(folder: Path, options: Options, aim: str, nth: int) -> None:
    """What a forked process does: the command line, in its working folder; never returns."""
    code = 1
    try:
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _note_order(folder / "order.jsonl")
        if aim:
            _aim(aim, nth)
        from attuner.cli import main as attuner

        sys.argv = ["attuner", "train", "--task", "translation", *options, "--resume"]
        attuner()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code or 0)


def _note_order(file: Path) -> None:
    """Write down the rows of each update that is made."""
    from attuner.training import loop

    inner = loop.leave_gradient

    def noting(model: Any, optimizer: Any, accelerator: Any, update: Any, **options: Any) -> Any:
        gradient = inner(model, optimizer, accelerator, update, **options)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps([round(update.epoch * 1e6), update.rows.tolist()]) + "\n")
        return gradient

    loop.leave_gradient = noting


def _aim(name: str, nth: int) -> None:
    """Let the process kill itself at the `nth` call of a function."""
    module_name, _, function = name.rpartition(".")
    module = importlib.import_module(module_name)
    inner: Callable[..., Any] = getattr(module, function)
    calls = itertools.count(1)

    def killing(*args: Any, **options: Any) -> Any:
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **options)

    setattr(module, function, killing)


def _write_data(path: Path) -> None:
    """Made-up pairs: the words of the source, each with an ending, the other way round."""
    chance = random.Random(1)
    words = [f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "tu") for b in ("n", "r", "s", "da")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(60):
            source = [chance.choice(words) for _ in range(chance.randrange(2, 7))]
            target = [f"{word}o" for word in reversed(source)]
            file.write(json.dumps({"en": " ".join(source), "fr": " ".join(target)}) + "\n")


def _base_model(folder: Path) -> Path:
    """A model that has been trained from scratch for some steps: adapters need a checkpoint."""
    sizes = {
        "model_type": "marian", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    }  # fmt: skip
    scratch = Run(
        folder / "base",
        [
            f"model.config={json.dumps(sizes)}", "model.vocabulary.size=60", "training.epochs=4",
            *_common(folder),
        ],
    )  # fmt: skip
    if code := scratch.go():
        raise SystemExit(f"no model to begin with, {code}:\n{scratch.said()}")
    return folder / "base/runs/run/model"


def _recipe(folder: Path, base: Path, options: Options) -> Options:
    return [
        f"model={base}", "training.epochs=3", "training.evaluate=steps",
        "training.evaluate_every_steps=4", "training.save=steps", "training.save_every_steps=2",
        "training.learning_rate=0.003", "model.self_check=skip", *_common(folder), *options,
    ]  # fmt: skip


def _common(folder: Path) -> Options:
    return [
        "task.source=en", "task.target=fr", f"data.train={folder}/data.jsonl",
        "data.split.by=random", "data.split.validation=8", "data.split.test=8",
        "training.batch_examples=8", "generation.num_beams=1", "generation.max_new_tokens=20",
        "training.device=cpu",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
