"""What a run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run folder.
        model_folder: The delivered model, which transformers, Attuner and CTranslate2 read.
        before: Scores of the untuned model on `split`.
        after: Scores of the delivered weights on `split`.
        signatures: The settings behind each score.
        split: `test`, or `validation` where there is no test split; "" where nothing is held out.
        seconds: From the first file read to the model written; of a run that was resumed, of all
            its starts, but for what was done in vain after the checkpoint that it went on from.
        counts: Numbers of entries: `read`, `skipped`, `split`; of lines: `cut` at the token limits
            by part and side and, with `data.too_long=skip`, `too long`.
        epochs: Validation scores over the run, first the untuned model's.
        intervals: 95 % intervals of the scores, `before` and `after`, where the task has them.
        usage: How the model is used: what to type, by where.
        spreads: With several seeds: `mean` and `deviation` of each score over them, by what they
            are of, such as `test`.
        hub_url: The commit of the model on the Hub, where it was pushed.
    """

    folder: Path
    model_folder: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    signatures: Mapping[str, str]
    split: str
    seconds: float
    counts: Mapping[str, Mapping[str, int]]
    epochs: Sequence[Mapping[str, Any]] = field(default=())
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    usage: Mapping[str, str] = field(default_factory=dict)
    spreads: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    hub_url: str | None = None

    @property
    def last(self) -> Mapping[str, float]:
        """Validation scores of the last evaluation while training; empty where there was none."""
        found = [e["scores"] for e in self.epochs if e["when"] in ("epoch", "steps")]
        return found[-1] if found else {}

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """Scores before and after tuning."""
        return {"before": self.before, "after": self.after}

    @property
    def report(self) -> str:
        """What became better, in words."""
        lines = [f"{self.split} scores, before → after ({self.folder})"]
        for name, after in self.after.items():
            before = self.before[name]
            lines.append(f"  {name}: {before:.2f} → {after:.2f} ({after - before:+.2f})")
        return "\n".join(lines)
