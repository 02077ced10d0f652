"""What happens in a run, as frozen facts. Listeners see all of it and can steer nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attuner.evaluation.classification import LabelRow
    from attuner.recipe import Recipe

# Lower and upper bound by score.
Intervals = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Begun:
    """A run is about to begin, or to go on; of several seeds, each once more.

    Attributes:
        folder: Its folder.
        recipe: What it goes by.
    """

    folder: Path
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class DataPrepared:
    """The data were read, filtered and split.

    Attributes:
        counts: Rows of a table: for `read`, `skipped` (by reason) and `split` (by name), the
            number of examples, such as `{"skipped": {"fuzzy": 3}}`.
        notes: Sentences worth reading, such as leaks found.
    """

    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """The loop is about to start."""

    num_examples: int
    num_tokens: int
    num_epochs: float
    num_steps: int
    batch: str  # such as "2048 target tokens" or "32 examples"
    accumulation: int
    num_parameters: int
    device: str
    precision: str
    kernels: str  # "native kernels" or "torch's kernels", with the reason; "" on a GPU
    batches: str  # "packed" or "padded", with the reason
    first_step: int = 0  # above 0 when a run is resumed
    num_trained: int | None = None  # parameters that are trained; None where not said
    unit: str = "target tokens"  # what `num_tokens` counts
    num_processes: int = 1  # that share each update


@dataclass(frozen=True, slots=True)
class Stepped:
    """One optimizer update was done.

    Attributes:
        loss: Mean over the update's real target tokens, in nats.
        epoch: Passes over the data so far, fractional.
        seconds: Time since the loop started, evaluations included.
    """

    step: int
    num_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    num_examples: int
    num_target_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BadLoss:
    """An update was not made, as its loss is no number or has exploded.

    Attributes:
        step: The update, which counts.
        what: What is wrong, such as "the loss is nan".
        learning_rate: That of the update.
        examples: Where its examples come from, such as "a.po:42".
        is_skipped: Whether training goes on; else it stops here.
    """

    step: int
    what: str
    learning_rate: float
    examples: tuple[str, ...]
    is_skipped: bool


@dataclass(frozen=True, slots=True)
class Split:
    """Memory ran out: micro-batches were cut in two, the update was made all the same.

    Attributes:
        step: The update.
        num_splits: Cuts in this update.
        num_examples: Its examples.
        total: Cuts so far.
    """

    step: int
    num_splits: int
    num_examples: int
    total: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """Long work other than steps: generating, reading, tokenising."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A split was scored.

    Attributes:
        when: "before", "epoch", "steps", "mean" (that of the last checkpoints) or "after".
        split: "validation" or "test".
        scores: `loss` in nats a token, and metrics such as `bleu` and `chrf` (0 to 100).
        signatures: The settings behind each metric, and the `engine` that generated.
        train_loss: Mean training loss since the last evaluation; None before training.
        intervals: 95 % intervals of scores, where the task has them; not while training.
    """

    when: str
    split: str
    step: int
    epoch: float
    scores: Mapping[str, float]
    signatures: Mapping[str, str] = field(default_factory=dict)
    train_loss: float | None = None
    is_best: bool = False
    seconds: float = 0.0
    intervals: Intervals = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written."""

    step: int
    folder: Path
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The loop is done.

    Attributes:
        reason: "done" or "early stopping".
        seconds: Time in the loop, evaluations included.
        train_seconds: Time in optimizer updates alone.
        num_skipped: Updates not made, as their loss was bad.
        num_splits: Micro-batches cut in two, as memory ran out.
    """

    reason: str
    num_steps: int
    num_examples: int
    seconds: float
    train_seconds: float
    best_step: int | None = None
    num_skipped: int = 0
    num_splits: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test entry before and after tuning."""

    source: str
    before: str
    after: str
    reference: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What tuning changed in the translations of the test entries.

    Attributes:
        rows: Some of the changed entries, those first that gained most.
        num_examples: Test entries.
        num_changed: Entries whose translation changed.
        num_nearer: Changed entries that are nearer to their reference (sentence chrF).
        num_further: Changed entries that are further from it.
    """

    rows: tuple[Comparison, ...]
    num_examples: int
    num_changed: int
    num_nearer: int
    num_further: int


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What tuning changed in the labels, or ratings, of the final split.

    Attributes:
        rows: Some of the changed examples, those first that gained most.
        num_examples: Examples.
        num_changed: Examples that have another label than before.
        num_better: Those of them that have become right, or are rated nearer to the truth.
        num_worse: Those that have become wrong, or are rated further from it.
        labels: Precision, recall and F1 of each label, after tuning; none of ratings.
    """

    rows: tuple[Comparison, ...]
    num_examples: int
    num_changed: int
    num_better: int
    num_worse: int
    labels: tuple[LabelRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivered:
    """The run is over and its model folder is written.

    Attributes:
        intervals: 95 % intervals of the scores, `before` and `after`, where the task has them.
        last: Where the final split is validation: the last evaluation's scores, beside those of
            the weights that were chosen on it.
        usage: How the model is used: what to type, by where.
    """

    folder: Path
    model_folder: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    signatures: Mapping[str, str]
    split: str
    seconds: float
    intervals: Mapping[str, Intervals] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation (of a sample, n - 1) of scores over seeds."""

    mean: Mapping[str, float]
    deviation: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SeedsCompared:
    """Runs with several seeds are over.

    Attributes:
        seeds: The seeds.
        spreads: Scores over the seeds, by what they are of, in words.
        metric: What was chosen by.
        best: The seed whose model is delivered.
    """

    seeds: tuple[int, ...]
    spreads: Mapping[str, Spread]
    metric: str
    best: int


@dataclass(frozen=True, slots=True)
class Noted:
    """One line that the user should read: a fallback taken, a file written."""

    text: str


Event = (
    Begun
    | DataPrepared
    | Planned
    | Stepped
    | BadLoss
    | Split
    | Progressed
    | Evaluated
    | Saved
    | Finished
    | Compared
    | Relabelled
    | Delivered
    | SeedsCompared
    | Noted
)
Listener = Callable[[Event], None]
# What `metrics.jsonl` keeps.
KEPT = (DataPrepared, Planned, Stepped, BadLoss, Split, Evaluated, Finished, Delivered)


def tell(listeners: Sequence[Listener], event: Event) -> None:
    """Tell all listeners of an event."""
    for listener in listeners:
        listener(event)


def fetching(done: int, total: int) -> Progressed:
    """How much of a model of the Hub has arrived, from bytes."""
    return Progressed("fetching the model, in kB,", done // 1000, total // 1000)
