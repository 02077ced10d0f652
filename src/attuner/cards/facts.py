"""What a model card says, as `card.json` in the model folder keeps it.

The card is rendered from this file and from nothing else, so that it can be rendered anew: with a
later template, after an export, under another name. Scores stand beside the fingerprint of the
files that they were computed from.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object

FILE = "card.json"

Counts = dict[str, int]
# A score that is not a number, such as a correlation with a constant, is None.
Scores = dict[str, float | None]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Base(_Section):
    """What a model was tuned from.

    Attributes:
        name: As the recipe names it; of a folder, its last part.
        kind: `hub`, `folder`, `embedded`, `package`, or `scratch` for random weights.
        revision: Branch, tag or commit on the Hub.
        license: Its licence, where its own card says one.
        family: Such as `marian`.
        num_parameters: In all.
        num_trained: Of them, those that were trained.
        adapter: Kind of the adapter, such as `lora`; "" where the weights themselves were trained.
        is_separate: Whether the adapter alone is delivered.
        frozen: Parts that were not trained.
    """

    name: str
    kind: str = "folder"
    revision: str | None = None
    license: str | None = None
    family: str = ""
    num_parameters: int = 0
    num_trained: int = 0
    adapter: str = ""
    is_separate: bool = False
    frozen: list[str] = []


class Source(_Section):
    """Where examples came from.

    Attributes:
        name: As the recipe names it; of a path in full, its last part.
        use: `train`, `validation`, `test` or `mix`.
        hub_id: Of a data set on the Hub.
        config: Its configuration.
        split: Its split.
        revision: Its revision.
    """

    name: str
    use: str
    hub_id: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None


class Data(_Section):
    """What a model was tuned and scored on.

    Attributes:
        sources: Where it came from.
        licenses: Its licences, in the recipe's words.
        counts: By row of a table, such as `read`, `skipped`, `split`, `cut`: numbers by name.
        divided_by: What stayed together where validation and test were split off.
        notes: What was noted of the data, such as leaks found.
    """

    sources: list[Source] = []
    licenses: list[str] = []
    counts: dict[str, Counts] = {}
    divided_by: str = ""
    notes: list[str] = []


class Use(_Section):
    """How a model is used.

    Attributes:
        source: Language of the sources; "" where it is of no matter.
        targets: Languages of the targets, or of texts that are not translated.
        prefix: Text before each source.
        max_tokens: Longer texts are cut there.
        num_beams: Width of the search when it was scored.
        max_new_tokens: Longest text that it generates.
        runs_on_ctranslate2: Whether CTranslate2 knows the family.
        tells_languages: Whether its family has a token for each language.
        kind: Of a classifier: `single`, `multi` or `rating`.
        labels: Of a classifier.
        threshold: With several labels, the probability from which on one is given.
        is_pair: Whether it classifies pairs of texts.
    """

    source: str = ""
    targets: list[str] = []
    prefix: str = ""
    max_tokens: int = 0
    num_beams: int = 1
    max_new_tokens: int = 128
    runs_on_ctranslate2: bool = False
    tells_languages: bool = False
    kind: str = ""
    labels: list[str] = []
    threshold: float | None = None
    is_pair: bool = False


class Scored(_Section):
    """Scores on what was held out.

    Attributes:
        split: `test`, or `validation` where there is no test split; "" where nothing is held out.
        num_examples: How many it has.
        before: Scores of what the run began with.
        after: Scores of the weights in the folder.
        intervals: 95 % intervals, `before` and `after`, of the scores that have them.
        signatures: The settings behind each score.
        last: Where `split` is validation: the last evaluation's, without a choice on it.
    """

    split: str = ""
    num_examples: int = 0
    before: Scores = {}
    after: Scores = {}
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    signatures: dict[str, str] = {}
    last: Scores = {}


class Evaluation(_Section):
    """Validation scores while training."""

    when: str
    epoch: float
    scores: Scores
    train_loss: float | None = None
    is_best: bool = False


class LabelScore(_Section):
    """Precision, recall and F1 of a label, in per cent, and how many texts have it."""

    name: str
    precision: float
    recall: float
    f1: float
    num_examples: int


class Shown(_Section):
    """A held-out example, and what was made of it; `pair` is the second text of two."""

    source: str
    pair: str = ""
    before: str
    after: str
    reference: str


class Training(_Section):
    """How a model was tuned.

    Attributes:
        num_steps: Updates made.
        epochs: Passes over the training examples.
        batch: Size of an update, in words.
        num_tokens: Tokens of an epoch.
        unit: What they are of.
        num_skipped: Updates not made, for a bad loss.
        device: Where it was computed.
        precision: Number format of the matrix products.
        seconds: In all, scoring included.
        versions: Of the libraries.
        changes: Options that were changed when the run was resumed, in words.
        recipe: The whole recipe, as YAML.
    """

    num_steps: int = 0
    epochs: float = 0
    batch: str = ""
    num_tokens: int = 0
    unit: str = ""
    num_skipped: int = 0
    device: str = ""
    precision: str = ""
    seconds: float = 0
    versions: dict[str, str] = {}
    changes: list[str] = []
    recipe: str = ""


class Spread(_Section):
    """Mean and standard deviation of scores over seeds."""

    mean: Scores
    deviation: Scores


class Seeds(_Section):
    """Several seeds: scores over them by what they are of, what was chosen by, and what."""

    seeds: list[int]
    spreads: dict[str, Spread]
    metric: str
    best: int


class Export(_Section):
    """The model in another format, beside what it was made from.

    Attributes:
        name: Format and number format, such as `ctranslate2 int8`; of the model itself `original`.
        num_bytes: Size of its files.
        per_second: Sentences, or texts, a second.
        split: What the scores are on.
        num_examples: How many.
        scores: Its scores.
        engine: What computed them.
        machine: Where the speed was measured.
    """

    name: str
    num_bytes: int = 0
    per_second: float | None = None
    split: str = ""
    num_examples: int = 0
    scores: Scores = {}
    engine: str = ""
    machine: str = ""


class Facts(_Section):
    """All that a card says.

    Attributes:
        name: The model's name: that of the run.
        address: Where it is found: its folder as delivered, or its id on the Hub.
        task: `translation`, `text-to-text` or `classification`.
        license: Licence of the model, as the recipe or the base says; None where neither does.
        base: What it was tuned from.
        data: On what.
        use: How to use it.
        scored: How good it is.
        evaluations: How good it was while training.
        labels: Of a classifier: how good each label is.
        shown: Some held-out examples.
        training: How it was tuned.
        seeds: Where it is the best of several.
        exports: Other formats of it that were made and measured.
        files: SHA-256 of the files that the scores are of, by name.
        card: SHA-256 of the card that was rendered last: another one was written into.
        so_far: Of a run that is not over: how far it was, and which of its weights these are, in
            words that begin with "after"; "" of a result.
    """

    name: str
    address: str
    task: str
    license: str | None = None
    base: Base
    data: Data = Data()
    use: Use = Use()
    scored: Scored = Scored()
    evaluations: list[Evaluation] = []
    labels: list[LabelScore] = []
    shown: list[Shown] = []
    training: Training = Training()
    seeds: Seeds | None = None
    exports: list[Export] = []
    files: dict[str, str] = {}
    card: str = ""
    so_far: str = ""


def read_facts(folder: Path) -> Facts:
    """The facts in a model folder.

    Raises:
        ModelError: There are none, or the file is broken.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {FILE}: nothing is known of how it was tuned and scored.",
            "`attuner train` delivers a model folder with its facts and its card.",
            "Give the folder of a run that has ended, or copy the model with all of its files.",
        )
    try:
        return Facts.model_validate(read_json_object(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{path}: {place}: {first['msg']}.",
            "Expected the facts of a run, as `attuner train` wrote them.",
            "Copy the file again from the run that made the model.",
        ) from error


def write_facts(facts: Facts, folder: Path) -> None:
    """Write `card.json`."""
    text = facts.model_dump_json(indent=2, exclude_defaults=True)
    (folder / FILE).write_text(f"{text}\n", encoding="utf-8")
