"""What a model is to learn, and what it is scored by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from attuner.options.section import Section

TextMetric = Literal["bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match", "token_f1"]
TextMetrics = Annotated[list[TextMetric], Field(min_length=1)]
LabelMetric = Literal[
    "accuracy", "f1", "macro_f1", "micro_f1", "mcc", "map", "pearson", "spearman", "mae"
]

# What classifiers are scored by, by the kind of labels; first what tells the best weights.
LABEL_METRICS: dict[str, tuple[LabelMetric, ...]] = {
    "single": ("accuracy", "f1", "macro_f1", "micro_f1", "mcc"),
    "multi": ("micro_f1", "macro_f1", "map", "accuracy"),
    "rating": ("mae", "pearson", "spearman"),
}


def _one_or_several(value: Any) -> Any:
    """A language code, or a list of different ones."""
    codes = value if isinstance(value, list) else [value]
    are_codes = all(isinstance(code, str) for code in codes)
    if not codes or not are_codes or len(set(codes)) < len(codes):
        seen = f"[{', '.join(map(str, codes))}]" if isinstance(value, list) else value
        raise ValueError(f"{seen}. Expected: a language code such as fr, or a list of several")
    return codes[0] if len(codes) == 1 else codes


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
