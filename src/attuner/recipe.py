"""The recipe: every option of a run, with its default, its unit and its words of help.

A recipe is frozen data. It knows nothing of torch and never enters a model, a metric or a
reader: those take plain keyword arguments. The command line's help, the reference page and
the JSON schema for editors are generated from the classes below.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A part of the recipe: immutable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def _shorthand(key: str, section: Any) -> BeforeValidator:
    """Let a bare string stand for a `section` of which only `key` is given."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value,
        json_schema_input_type=str | section,
    )


def _one_or_several(value: Any) -> Any:
    """A language code, or a list of different ones."""
    codes = value if isinstance(value, list) else [value]
    are_codes = all(isinstance(code, str) for code in codes)
    if not codes or not are_codes or len(set(codes)) < len(codes):
        seen = f"[{', '.join(map(str, codes))}]" if isinstance(value, list) else value
        raise ValueError(f"{seen}. Expected: a language code such as fr, or a list of several")
    return codes[0] if len(codes) == 1 else codes


def _function(reference: str) -> str:
    """A function's place and name; a file in full, so that the recipe of the run finds it, too."""
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"{reference}. Expected: my_metrics.py:kappa or package.module:kappa")
    return f"{os.path.abspath(place)}:{name}" if place.endswith(".py") else reference


TextMetric = Literal["bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match", "token_f1"]
TextMetrics = Annotated[list[TextMetric], Field(min_length=1)]
LabelMetric = Literal[
    "accuracy", "f1", "macro_f1", "micro_f1", "mcc", "map", "pearson", "spearman", "mae"
]
Tracker = Literal["tensorboard", "trackio", "wandb"]

# What classifiers are scored by, by the kind of labels; first what tells the best weights.
LABEL_METRICS: dict[str, tuple[LabelMetric, ...]] = {
    "single": ("accuracy", "f1", "macro_f1", "micro_f1", "mcc"),
    "multi": ("micro_f1", "macro_f1", "map", "accuracy"),
    "rating": ("mae", "pearson", "spearman"),
}


class TranslationTask(Section):
    """Translate text from one language into another, or into several, line by line."""

    name: Literal["translation"] = "translation"
    """What the model is to learn."""
    source: str
    """Language of the source text, as a code: `en`, `pt-BR`, `zh-Hans`."""
    target: Annotated[str | list[str], BeforeValidator(_one_or_several)]
    """Language of the target text, as a code. Several languages as a list of codes."""
    prefix: str | None = None
    """Text put before each source when the model reads it; "" for none. Where not given, what the
    checkpoint's family was trained with: T5's `translate English to French: `, nothing
    elsewhere."""
    metrics: TextMetrics = ["bleu", "chrf"]
    """What the translations are scored by."""

    @property
    def targets(self) -> tuple[str, ...]:
        """All target languages."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def told_languages(self) -> tuple[str, str]:
        """The languages that a checkpoint is told before it is told those of an example."""
        return self.source, self.targets[0]

    @property
    def whole_texts(self) -> bool:
        """Whether a text is taken as a whole: no, line by line."""
        return False

    @property
    def best_metric(self) -> str:
        """What tells the best weights where the recipe does not say."""
        return "chrf" if "chrf" in self.metrics else self.metrics[0]


class TextToTextTask(Section):
    """Any text from any other, taken whole: summaries, style, answers to questions."""

    name: Literal["text-to-text"] = "text-to-text"
    """What the model is to learn."""
    language: str = "en"
    """Language of the texts, as a code: it says to the metrics what a word is, and to checkpoints
    of many languages which one is meant."""
    prefix: str = ""
    """Text that is put before each source text when the model reads it, such as `"summarize: "`."""
    metrics: TextMetrics = ["rougeL", "chrf"]
    """What the outputs are scored by; ROUGE needs `attuner[rouge]`."""

    @property
    def source(self) -> str:
        """The source language: none that a model or a file is asked for."""
        return ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The target languages: none that a model or a file is asked for."""
        return ("",)

    @property
    def told_languages(self) -> tuple[str, str]:
        """The languages that a checkpoint is told: its own text's, on either side."""
        return self.language, self.language

    @property
    def whole_texts(self) -> bool:
        """Whether a text is taken as a whole, line breaks included: yes."""
        return True

    @property
    def best_metric(self) -> str:
        """What tells the best weights where the recipe does not say."""
        return self.metrics[0]


class ClassificationTask(Section):
    """Give texts, or pairs of texts, a label, several labels or a rating."""

    name: Literal["classification"] = "classification"
    """What the model is to learn."""
    text: str = "text"
    """Name of the column that holds the texts."""
    text_pair: str | None = None
    """For pairs of texts: name of the column that holds the second ones."""
    label: str = "label"
    """Name of the column that holds the labels: texts or numbers."""
    kind: Literal["single", "multi", "rating"] = "single"
    """What a text has: `single` one of several labels, `multi` any number of them, `rating` a
    number."""
    labels: list[str] = []
    """All labels, in the order of the model's outputs; of two, the second is the positive one.
    Where the data have numbers 0, 1, ... they count these names. Where not given: the labels of
    the training data, numbers by size, names by alphabet."""
    separator: Annotated[str, Field(min_length=1)] = ","
    """With `kind: multi`: what stands between several labels in one text."""
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Factors of the labels' losses, as `{rare: 5}`; `balanced` gives each label the same sum.
    With `kind: multi`, factors of the examples that have a label."""

    @property
    def metrics(self) -> tuple[LabelMetric, ...]:
        """What the labels are scored by: all that apply."""
        return LABEL_METRICS[self.kind]

    @property
    def best_metric(self) -> LabelMetric:
        """What tells the best weights where the recipe does not say."""
        return self.metrics[0]

    @model_validator(mode="after")
    def _ratings_have_no_labels(self) -> ClassificationTask:
        if self.kind == "rating" and (self.labels or self.class_weights is not None):
            raise ValueError("kind: rating has no labels, and so no labels or class_weights")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: a name occurs twice")
        return self


Task = Annotated[TranslationTask | TextToTextTask | ClassificationTask, Field(discriminator="name")]


class Vocabulary(Section):
    """SentencePiece's unigram pieces, learned from the training texts of both languages."""

    size: Annotated[int, Field(gt=3)] = 8000
    """Number of pieces, the end and the unknown token among them; the padding token comes on top,
    as the last. Small data give fewer."""
    # Of 42 million characters of English and French, 0.9995 leaves out À, û and œ, 0.9999 È and ë.
    character_coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.99999
    """Share of the text whose characters get pieces of their own, the commonest first; 1 for all
    characters."""
    byte_fallback: bool = False
    """Spell characters without a piece in bytes, which takes 256 pieces, so that nothing is
    unknown."""
    normalisation: Literal["identity", "nmt_nfkc"] = "identity"
    """What is done to characters first: `identity` keeps them as they are, `nmt_nfkc` unites those
    that look alike, such as no-break and plain spaces, or `…` and `...`."""


class Adapter(Section):
    """Few weights trained instead of the model's own, which stay as they are."""

    kind: Literal["lora", "dora", "ia3"] = "lora"
    """`lora`: two thin matrices beside each weight. `dora`: its direction by LoRA, its length on
    its own. `ia3`: factors of keys, values and feed-forward activations, fewest of all."""
    rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the change of a weight."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """The change is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a layer's input that is dropped on the adapter's way."""
    rslora: bool = False
    """Scale by alpha / √rank instead, for high ranks."""
    targets: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the linear layers that it is put on, such as `[q_proj, v_proj]`; those of attention
    and feed-forward where not given."""
    save: Literal["merged", "separate"] = "merged"
    """What is delivered. `merged`: a model folder like any other. `separate`: the adapter alone,
    of a few megabytes, which needs the checkpoint that it was trained on."""

    @model_validator(mode="after")
    def _consistent(self) -> Adapter:
        of_lora = ("rank", "alpha", "dropout", "rslora")  # a run's recipe has defaults written out
        given = [key for key in of_lora if getattr(self, key) != Adapter.model_fields[key].default]
        if self.kind == "ia3" and given:
            raise ValueError(f"kind: ia3 has no {' and no '.join(given)}")
        return self


class Model(Section):
    """The model to start from: a checkpoint, or a configuration for training from scratch."""

    checkpoint: str | None = None
    """Hub id or folder of a pretrained model, or `package:NAME` for one inside an installed Python
    package; `embedded:en-fr` is the one that comes with Attuner."""
    revision: str | None = None
    """Branch, tag or commit of a Hub checkpoint."""
    config: dict[str, Any] | None = None
    """Instead of a checkpoint: a transformers configuration (`model_type: marian`, `d_model:
    256`, ...) that is filled with random weights."""
    vocabulary: Vocabulary | None = None
    """With `config` of a Marian model: learn the vocabulary from the training texts. The
    configuration's `vocab_size` and token ids follow from it."""
    tokenizer: str | None = None
    """With `config`, instead of a vocabulary: the folder or Hub id whose tokenizer is used."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout while tuning, as a share of activations; the checkpoint's own where not given."""
    self_check: Literal["fail", "warn", "skip"] = "fail"
    """What happens where a checkpoint seems damaged before tuning: stop (`fail`), or say so and go
    on (`warn`). What is only suspicious is said either way; `skip` does not look."""
    adapter: Annotated[Adapter, _shorthand("kind", Adapter)] | None = None
    """Train an adapter instead of the checkpoint's own weights. A bare string is its kind."""
    freeze: list[Literal["embeddings", "encoder", "decoder"]] = []
    """Parts of the checkpoint that are not trained. Where the output layer shares the weights of
    the embeddings, it is frozen with them."""

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("give either checkpoint or config")
        if self.adapter is not None and self.freeze:
            raise ValueError("adapter freezes all of the checkpoint: leave freeze out")
        if self.config is not None and (self.adapter is not None or self.freeze):
            raise ValueError("adapter and freeze go with checkpoint: random weights have to learn")
        if self.config is None:
            if self.tokenizer is not None or self.vocabulary is not None:
                raise ValueError("tokenizer and vocabulary go with config, not with checkpoint")
            return self
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise ValueError("config needs either vocabulary or tokenizer")
        if self.vocabulary is not None and self.config.get("model_type") != "marian":
            raise ValueError(
                "vocabulary needs model_type: marian in config; other models need a tokenizer"
            )
        return self


class Source(Section):
    """Where examples come from."""

    path: str
    """A file, folder, glob, `package:NAME` (catalogs inside an installed Python package), `hub:ID`
    (a data set on the Hugging Face Hub) or `embedded:reviews`, rated sentences for trying
    classification."""
    target_path: str | None = None
    """With a plain text file in `path`: the file that holds its translations, line by line."""
    config: str | None = None
    """Configuration of a Hub data set, such as `en-fr`."""
    revision: str | None = None
    """Branch, tag or commit of a Hub data set."""
    split: str = "train"
    """Split of a Hub data set."""
    streaming: bool = False
    """Read a Hub data set as it comes, and keep no copy of it on this disk: it is fetched anew for
    each run."""
    columns: dict[Literal["source", "target"], str] = {}
    """Names of the columns of a table, as `{source: english, target: french}`, or a template over
    several: `{source: "question: {question} context: {context}", target: answer}`. A column of
    lists gives several references. Where not given: columns named as the languages, `source` and
    `target`, or the Hub's `translation` column."""
    references: list[str] = []
    """Further columns of a table with target texts: what is scored may come near to any of them."""
    encoding: str = "utf-8"
    """Character encoding of text files that do not declare their own."""
    source_language: str | None = None
    """Language of this source's source side, where it is not the task's."""
    target_language: str | None = None
    """Language of this source's target side, where it is not the task's."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often an example of this source is seen in an epoch: 0.5 half of them, 2 each twice."""


Sources = Annotated[
    list[Annotated[Source, _shorthand("path", Source)]],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str | dict) else value,
        json_schema_input_type=str | Source | list[str | Source],
    ),
]


class Split(Section):
    """How examples are divided where no explicit files are given."""

    by: Literal["source", "catalog", "file", "random"] = "source"
    """What stays together. `source`: entries with the same source text (case, white space,
    accelerators, full stops, ellipsis or colons at the end, and the form of characters, by Unicode
    NFKC, aside), so that no evaluated text is in training. `catalog`: entries of one
    catalog. `file`: entries of one file. `random`: the rows of `datasets.train_test_split`;
    texts may leak, which is reported."""
    validation: Annotated[float, Field(ge=0)] = 0.1
    """Share (below 1) or number of examples for choices made while training."""
    test: Annotated[float, Field(ge=0)] = 0.1
    """Share (below 1) or number of examples for the final scores."""
    train_size: Annotated[float, Field(gt=0)] | None = None
    """With `by: random`: share or number of training rows; all others become validation."""
    seed: int = 20
    """Seed of the division."""


class Subset(Section):
    """The rows of `dataset.shuffle(seed).select(range(n))`."""

    n: Annotated[int, Field(gt=0)]
    """Number of examples."""
    seed: int = 42
    """Seed of the shuffle."""


class Mix(Section):
    """General text that is mixed into training, so that the model does not forget it."""

    sources: Annotated[Sources, Field(min_length=1)]
    """Where it comes from. It is never split, validated or tested; what has the source text of a
    validation or test example is left out."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Its share of the examples that an epoch sees, whatever their number: of more than enough,
    each epoch sees others."""


class Data(Section):
    """What is learned from, what is held out, what is left out."""

    train: Annotated[Sources, Field(min_length=1)]
    """Sources of training examples; validation and test are split off them where not given."""
    validation: Sources | None = None
    """Sources for choices made while training: early stopping, the best weights."""
    test: Sources | None = None
    """Sources for the final scores."""
    split: Split = Split()
    """How examples are divided where no explicit files are given."""
    mix: Mix | None = None
    """General text that is mixed into training, so that the model does not forget it."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """With several target languages: how evenly they are seen. A language with `n` of the examples
    is drawn in proportion to `n^(1/temperature)`: 1 leaves the proportions, 5 nearly evens them."""
    train_subset: Subset | None = None
    """Train on so many examples only."""
    evaluation_subset: Subset | None = None
    """Validate and test on so many examples only."""
    max_source_tokens: Annotated[int, Field(gt=1)] = 128
    """Longest source side in tokens, end token included; with classification, the longest text,
    or pair of texts together."""
    max_target_tokens: Annotated[int, Field(gt=1)] = 128
    """Longest target side in tokens, end token included."""
    too_long: Literal["cut", "skip"] = "cut"
    """What happens to longer sides. Counted either way."""
    duplicates: Literal["skip", "keep"] = "skip"
    """What happens to pairs that occurred before."""
    license: Annotated[
        list[str],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ] = []
    """Licence of the data, or several, as `cc-by-4.0` or in words: the model card says it."""
    bad_entries: Literal["fail", "skip"] = "fail"
    """What happens to entries that cannot be read. Skipped ones are counted."""
    cache: bool = True
    """Whether token ids of pairs of texts are kept in the cache folder, so that the next run on the
    same data need not make them. Those of labelled texts are made anew."""


class EarlyStopping(Section):
    """Stop when validation no longer gets better."""

    patience: Annotated[int, Field(gt=0)] = 3
    """Number of evaluations without a new best."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest gain that counts as better, in the metric's unit."""


class Ema(Section):
    """A running mean of the weights, which is what is evaluated and delivered."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the mean that an update leaves: 0.999 is a mean over about the last 1000 updates.
    In the first ones less is left, by (1 + step) / (10 + step), so that the start is forgotten."""


class Training(Section):
    """The loop."""

    epochs: Annotated[float, Field(gt=0)] = 3
    """Passes over the training examples. With classification 20 where not given."""
    max_steps: Annotated[int, Field(gt=0)] | None = None
    """Number of optimizer updates; overrides `epochs`."""
    batch_tokens: Annotated[int, Field(gt=0)] | None = None
    """Real target tokens in one update, over all processes; with classification, tokens of the
    texts. 2048 where `batch_examples` is not given either."""
    batch_examples: Annotated[int, Field(gt=0)] | None = None
    """Instead of `batch_tokens`: examples in one update, over all processes. With classification
    16 where neither is given."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Micro-batches that an update is cut into, to save memory. The result is the same."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate. With classification 2e-5 where not given."""
    schedule: Literal["linear", "constant"] = "linear"
    """The learning rate after warm-up: falling to zero in a line, or constant."""
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    """Updates in which the learning rate rises from zero; below 1, a share of all updates. With
    classification 0.1 where not given."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """With classification: factor of the learning rate from each layer to the one below it, 1 for
    none; 0.9 to 0.95 are usual. The head has the whole rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decoupled weight decay; biases and norms are left out."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients with a larger norm are scaled down to it; 0 switches clipping off."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target's probability that is spread over the vocabulary, or over the labels."""
    r_drop: Annotated[float, Field(ge=0)] = 0.0
    """Weight of R-Drop: each example goes through dropout twice, and what the two outputs differ
    by (their symmetric Kullback-Leibler divergence) is added to the loss. 0 is without; 1 to 5 are
    usual. An update takes twice as long."""
    gradient_checkpointing: bool = False
    """Compute each layer's activations again for the backward pass, rather than keep them: less
    memory, a third more time, the same result."""
    fixed_shapes: bool = False
    """With `batch_examples`: pad every micro-batch to one shape, the longest source and target of
    the training examples and as many rows, instead of packing. For devices that compile a program
    for each shape that they meet, such as TPUs; not tried on one. The result is the same, but all
    the padding is computed."""
    ema: Ema | None = None
    """Evaluate and deliver a running mean of the weights; `{}` for its defaults."""
    average_checkpoints: Annotated[int, Field(gt=1)] | None = None
    """After training, try the mean of so many last checkpoints: it is delivered if it scores better
    on the validation examples than the best weights do."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the matrix products. `auto`: bf16 where the device is fast at it, fp32
    elsewhere. Weights and optimizer are always kept in fp32; on a processor, what is computed in
    bf16 goes through copies of the weights."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to compute; `auto` takes an accelerator where there is one."""
    evaluate: Literal["none", "epoch", "steps"] = "epoch"
    """When to score the validation examples."""
    evaluate_every_steps: Annotated[int, Field(gt=0)] | None = None
    """With `evaluate: steps`: updates between two evaluations."""
    save: Literal["epoch", "steps"] = "epoch"
    """When to write a checkpoint that the run can be resumed from."""
    save_every_steps: Annotated[int, Field(gt=0)] | None = None
    """With `save: steps`: updates between two checkpoints."""
    keep_checkpoints: Annotated[int, Field(gt=0)] = 3
    """Number of latest checkpoints to keep; the best is always kept."""
    best_metric: str | None = None
    """The validation score that tells which weights are the best, and are delivered: `loss`, one of
    the task's metrics, or a name that a function of `evaluation.functions` gives. Where not given:
    chrF for translation; with classification accuracy, micro F1 of several labels, or the mean
    absolute error of ratings (`mae`); else the task's first metric."""
    early_stopping: EarlyStopping | None = None
    """Stop when `best_metric` no longer gets better. With classification after 5 evaluations
    without a new best, where not given."""
    on_bad_loss: Literal["stop", "skip"] = "stop"
    """What happens where the loss of an update is no number, or has exploded (more than 100 nats a
    target token, and ten times the lowest before), or its gradient is no number: stop, or `skip`
    the update. The step and its examples are said and kept in `metrics.jsonl` either way."""
    max_bad_losses: Annotated[int, Field(ge=0)] = 10
    """With `on_bad_loss: skip`: stop after all when more updates than this are bad."""
    seed: int = 42
    """Seed of the data order and of dropout, of a new head; from scratch, of the weights and of the
    lines that the vocabulary is learned from."""

    seeds: Annotated[int, Field(gt=0)] = 1
    """Number of runs with the seeds `seed`, `seed` + 1, ..., which differ in all that chance
    decides but the division of the data. Their scores are given as mean ± standard deviation, and
    the best by validation is delivered."""

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.batch_tokens is not None and self.batch_examples is not None:
            raise ValueError("give either batch_tokens or batch_examples, not both")
        for what in ("evaluate", "save"):
            every = getattr(self, f"{what}_every_steps")
            if (getattr(self, what) == "steps") != (every is not None):
                raise ValueError(f"{what}: steps and {what}_every_steps go together")
        if self.fixed_shapes and self.batch_examples is None:
            raise ValueError(
                "fixed_shapes needs batch_examples, such as 32: tokens make any number of rows"
            )
        if self.fixed_shapes and self.r_drop:
            raise ValueError("fixed_shapes does not go with r_drop, which pairs real tokens")
        if self.seeds > 1 and self.evaluate == "none":
            raise ValueError("seeds: the best is chosen on validation, which evaluate: none skips")
        if self.warmup_steps > 1 and not float(self.warmup_steps).is_integer():
            raise ValueError(
                f"warmup_steps: {self.warmup_steps} is neither a whole number nor a share below 1"
            )
        if self.early_stopping is not None and self.evaluate == "none":
            raise ValueError("early_stopping needs evaluate: epoch or evaluate: steps")
        if self.average_checkpoints is not None:
            if self.ema is not None:
                raise ValueError("give either ema or average_checkpoints: one mean is enough")
            if self.average_checkpoints > self.keep_checkpoints:
                raise ValueError(
                    f"average_checkpoints: {self.average_checkpoints} needs as many: set "
                    f"keep_checkpoints: {self.average_checkpoints}"
                )
        return self


class Generation(Section):
    """How translations are generated when the model is scored and used."""

    engine: Literal["auto", "ctranslate2", "transformers"] = "auto"
    """`ctranslate2` is many times faster, `transformers` the reference. `auto`: CTranslate2
    where it supports the model."""
    quantization: Literal["float32", "int8"] = "float32"
    """Number format of CTranslate2's weights."""
    num_beams: Annotated[int, Field(gt=0)] = 4
    """Width of the beam search; 1 is greedy."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 128
    """Longest generated translation of a line, in tokens."""
    batch_examples: Annotated[int, Field(gt=0)] = 64
    """Examples in one batch of generation or validation loss."""


class Evaluation(Section):
    """What validation and test examples are scored by beside the task's metrics."""

    functions: Annotated[
        list[Annotated[str, AfterValidator(_function)]],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ] = []
    """Metrics of your own, one or a list: `my_metrics.py:kappa`, counted from the recipe's folder,
    or `package.module:kappa` of what is installed. Each is a function of predictions and labels, or
    of texts and the references of each, that returns a dictionary of numbers; of these more is
    better."""


class Output(Section):
    """Where the run goes."""

    name: str = "run"
    """Name of the run folder."""
    folder: str = "runs"
    """Folder that holds the run folders."""
    trackers: Annotated[
        list[Tracker],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=Tracker | list[Tracker],
        ),
    ] = []
    """Who is told the numbers of the run as it goes: `tensorboard`, `trackio`, `wandb`, one or a
    list. All stay on this machine unless told otherwise in the environment. Each needs its extra,
    such as `attuner[tensorboard]`."""
    license: str | None = None
    """Licence of the delivered model, as `apache-2.0` or in words, for its card. Where not given,
    that of the checkpoint, as far as its own card names one."""
    card_examples: Annotated[int, Field(ge=0)] = 5
    """Number of held-out texts that the model card shows, before and after; 0 for none, as where
    they are confidential."""


class Publish(Section):
    """Pushing the run to the Hugging Face Hub, in the background, after each checkpoint."""

    hub_id: str | None = None
    """Repository that the run is pushed to, such as `user/name` or `organisation/name`; a bare name
    is one of yours. Nothing is pushed where it is not given."""
    private: bool = True
    """Whether a new repository can be seen by you, or your organisation, alone."""
    message: str = "Training"
    """Beginning of the commit messages, which go on with `in progress, epoch 1` or `complete`."""
    tag: str | None = None
    """Git tag of the commit with the finished model."""
    checkpoints: bool = True
    """Whether what the run can be resumed from on another machine is pushed, too, while it goes:
    three times the size of the trained weights, and the test examples with their predictions."""
    wait_seconds: Annotated[float, Field(ge=0)] = 600
    """How long the run waits at its end for the last push."""


# Classification learns best as Mosbach et al. 2021 say: a low rate with warm-up, and epochs enough.
_FOR_LABELS: dict[str, Any] = {
    "epochs": 20, "batch_examples": 16, "learning_rate": 2e-5, "warmup_steps": 0.1,
    "early_stopping": {"patience": 5},
}  # fmt: skip


def _of_task(values: Any) -> Any:
    """The values with the task's own defaults where the recipe does not say."""
    if not isinstance(values, dict):
        return values
    task, training = values.get("task"), values.get("training", {})
    name = task.get("name") if isinstance(task, dict) else getattr(task, "name", task)
    if name != "classification" or not isinstance(training, dict):
        return values
    chosen = {key: value for key, value in _FOR_LABELS.items() if key not in training}
    if training.get("batch_tokens") is not None:
        chosen.pop("batch_examples", None)
    if training.get("evaluate") == "none":
        chosen.pop("early_stopping", None)
    return {**values, "training": {**training, **chosen}}


class Recipe(Section):
    """A whole run, from data to delivered model."""

    task: Annotated[Task, _shorthand("name", Task)]
    """What the model is to learn."""
    model: Annotated[Model, _shorthand("checkpoint", Model)]
    """What it starts from. A bare string is a checkpoint."""
    data: Annotated[
        Data,
        BeforeValidator(
            lambda value: {"train": value} if isinstance(value, str | list) else value,
            json_schema_input_type=str | list[str | Source] | Data,
        ),
    ]
    """What it learns from. A bare string or list is the training data."""
    training: Training = Training()
    """The loop."""
    generation: Generation = Generation()
    """How translations are generated when the model is scored and used."""
    evaluation: Evaluation = Evaluation()
    """What validation and test examples are scored by beside the task's metrics."""
    publish: Publish = Publish()
    """Pushing the run to the Hugging Face Hub."""
    output: Output = Output()
    """Where the run goes."""

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_the_task(cls, values: Any) -> Any:
        return _of_task(values)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        known, best = ["loss", *self.task.metrics], self.training.best_metric
        is_label = isinstance(self.task, ClassificationTask)
        # What an own function gives is known once it has been called.
        if best is not None and best not in known and not self.evaluation.functions:
            raise ValueError(
                f"training.best_metric is {best}, which is not scored. Expected: one of "
                f"{', '.join(known)}" + ("" if is_label else f", or add {best} to task.metrics")
            )
        if is_label:
            self._require_of_labels()
        elif self.training.layer_decay != 1:
            raise ValueError("training.layer_decay goes with task: classification")
        if self.training.r_drop and self.model.dropout == 0:
            raise ValueError(
                "training.r_drop needs dropout, by which two outputs differ: set model.dropout "
                "above 0, such as 0.1"
            )
        return self

    def _require_of_labels(self) -> None:
        """Refuse options that classification has no use of."""
        data = self.data
        sources = [*data.train, *(data.validation or []), *(data.test or [])]
        if self.model.config is not None:
            raise ValueError("task: classification needs model.checkpoint: it does not begin anew")
        found = {
            "data.mix": data.mix is not None,
            "data.temperature": data.temperature != 1,
            "data.max_target_tokens": data.max_target_tokens != Data.model_fields[
                "max_target_tokens"
            ].default,
            "training.r_drop": self.training.r_drop != 0,
            "model.adapter.save=separate": self.model.adapter is not None
            and self.model.adapter.save == "separate",
            "decoder in model.freeze": "decoder" in self.model.freeze,
            "generation": self.generation != Generation(),
            **{
                name: any(getattr(source, name) for source in sources)
                for name in (
                    "target_path", "columns", "references", "source_language", "target_language",
                )
            },
        }  # fmt: skip
        given = [name for name, is_given in found.items() if is_given]
        if given:
            raise ValueError(f"task: classification has no use of {', '.join(given)}")
        assert isinstance(self.task, ClassificationTask)
        if self.training.label_smoothing and self.task.kind != "single":
            raise ValueError("training.label_smoothing goes with kind: single")

    @property
    def label_task(self) -> ClassificationTask:
        """The task, where it is classification."""
        assert isinstance(self.task, ClassificationTask)
        return self.task

    @property
    def text_task(self) -> TranslationTask | TextToTextTask:
        """The task, where it is one of text → text."""
        assert isinstance(self.task, TranslationTask | TextToTextTask)
        return self.task

    @property
    def best_metric(self) -> str:
        """The validation score that tells which weights are the best."""
        return self.training.best_metric or self.task.best_metric
