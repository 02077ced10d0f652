"""Classification: texts, or pairs of texts → a label, several labels or a rating."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.features import LabelledTexts
from attuner.data.label_choice import with_labels
from attuner.data.labelled import LabelledExample
from attuner.data.labels import LabelSet, class_weights
from attuner.data.stored import spread
from attuner.errors import DataError, UsageError
from attuner.evaluation.own_metrics import OwnMetric, own_scores
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifier_usage import LabelUsage, write_label_usage
from attuner.models.classifiers import (
    is_on_top,
    labels_of,
    load_classifier,
    longest_text,
    save_classifier,
    set_pad_token,
)
from attuner.models.exports import refuse_export
from attuner.models.loading import resolve_model
from attuner.training import parts, setup
from attuner.training.events import DataPrepared, Listener, Noted, Progressed, fetching
from attuner.training.folder import RunFolder, write_text
from attuner.training.jobs.encoded import EncodedJob
from attuner.training.jobs.job import InTraining
from attuner.training.label_judge import LabelJudge
from attuner.training.labelled_data import prepare_labels
from attuner.training.own import find_and_try
from attuner.training.scorer import Part

if TYPE_CHECKING:
    from torch import nn

    from attuner.data.labelled_preparation import PreparedLabels
    from attuner.recipe import Recipe
    from attuner.tasks.classification import ClassificationTask
    from attuner.tasks.task import Task
    from attuner.training.label_check import CheckedLabels

_SCORED = 256
# In the run's `vocabulary`: kind and names of the labels.
_LABELS = "labels.json"


class LabelJob(EncodedJob[LabelledExample, LabelledTexts]):
    """The part of a run that is of classification; a `Job`, see there.

    Attributes:
        tokens: The checkpoint's tokenizer, when it is found.
        labels: The labels, when the data are read.
        max_tokens: Longest text, or pair of texts, that the model is given.
    """

    unit = "tokens"
    tokens: ClassifierTokens
    prepared: PreparedLabels
    labels: LabelSet
    max_tokens: int

    def __init__(self, recipe: Recipe, emit: Listener) -> None:
        super().__init__(recipe, emit)
        self._folder: Path | None = None
        self._own: list[OwnMetric] = []

    def find_model(self, vocabulary_folder: Path | None = None) -> None:
        """Of the data the names of the labels are learned, beside weights."""
        if vocabulary_folder is not None and (vocabulary_folder / _LABELS).is_file():
            kind, names = json.loads((vocabulary_folder / _LABELS).read_text(encoding="utf-8"))
            self.labels = LabelSet(kind, tuple(names))

        options = self.recipe.model
        assert options.checkpoint is not None  # the recipe says so
        self._folder = resolve_model(
            options.checkpoint,
            revision=options.revision,
            progress=lambda done, total: self.emit(fetching(done, total)),
        )
        refuse_export(self._folder)
        self.tokens = ClassifierTokens(self._folder)
        wanted = self.recipe.data.max_source_tokens
        self.max_tokens = longest_text(self._folder, self.tokens, wanted)
        if self.max_tokens < wanted:
            self.emit(
                Noted(
                    f"The model takes at most {self.max_tokens} tokens, less than "
                    f"data.max_source_tokens={wanted}: that is the limit."
                )
            )

    @property
    def model_name(self) -> str:
        """The checkpoint as the recipe names it."""
        return str(self.recipe.model.checkpoint)

    @property
    def model_folder(self) -> Path:
        """Where its weights lie."""
        assert self._folder is not None
        return self._folder

    def read(self) -> DataPrepared:
        """Read and divide the examples, and find the labels.

        Raises:
            DataError: There is too little, there is one label only, or a held-out one is unknown.
            UsageError: The best metric is F1 of two labels, and there are others.
            UserError: A metric of the user's own cannot be used.
        """
        task = self.recipe.label_task
        prepared = prepare_labels(
            self.recipe, progress=lambda done, total: self.emit(Progressed("reading", done, total))
        )
        known = labels_of(self.model_folder)
        self.prepared, self.labels = with_labels(
            prepared,
            task.kind,
            given=task.labels,
            known=known.names if known is not None and known.kind == task.kind else (),
            unknown=self.recipe.data.bad_entries,
        )
        if self.recipe.training.best_metric == "f1" and len(self.labels.names) != 2:
            raise UsageError(
                f"training.best_metric is f1, and there are {len(self.labels.names)} labels.",
                "f1 is that of the second of two labels.",
                "Set training.best_metric=macro_f1, or accuracy.",
            )
        self._own = find_and_try(self.recipe, self._score_the_truth)
        return DataPrepared(self.prepared.counts, self.prepared.notes)

    def _score_the_truth(self, own: Sequence[OwnMetric]) -> Mapping[str, float]:
        """What own metrics say of labels that are all right."""
        examples = self.prepared.validation or self.prepared.test
        targets = self.labels.encode([example.label for example in examples])
        return own_scores(own, targets, targets, num_resamples=0).scores if examples else {}

    def learn_vocabulary(self, folder: Path) -> None:
        """Checkpoints have theirs; the labels are kept, for whoever has the data no more."""
        folder.mkdir(exist_ok=True)
        text = json.dumps([self.labels.kind, self.labels.names], ensure_ascii=False)
        write_text(folder / _LABELS, f"{text}\n")

    def encode(self) -> None:
        """Token ids of the texts; says what was cut or left out.

        Raises:
            DataError: All texts of a part are too long, and left out.
        """
        self._features = self._encode("train")
        self._parts = {
            part: Part(getattr(self.prepared, part), self._encode(part))
            for part in ("validation", "test")
            if getattr(self.prepared, part)
        }
        done = {"cut": "Texts cut", "too long": "Texts left out as too long"}
        for what, found in self._too_long.items():
            listed = ", ".join(f"{part} {n:,}" for part, n in found.items())
            self.emit(Noted(f"{done[what]} (at {self.max_tokens} tokens): {listed}."))
        ignored = parts.ignored_choices(self.recipe, "validation" in self._parts)
        if ignored:
            self.emit(Noted(ignored))

    def _encode(self, part: str) -> LabelledTexts:
        from attuner.tasks.classification import EncodedLabels, encoded_chunks
        from attuner.training.encoded_cache import on_disk

        # What is evaluated is always cut, never skipped: scores are of all examples.
        too_long = self.recipe.data.too_long if part == "train" else "cut"
        examples = getattr(self.prepared, part)
        pieces = encoded_chunks(
            examples, self.tokens, self.labels, max_tokens=self.max_tokens, too_long=too_long
        )
        encoded = EncodedLabels(*on_disk(pieces))
        for what, reason in (("cut", "text cut"), ("too long", "too long")):
            if reason in encoded.counts:
                self._too_long.setdefault(what, {})[part] = encoded.counts[reason]
        if not len(encoded.features):
            raise DataError(
                f"No text is left for training of {len(examples):,}: all are too long.",
                f"Expected texts with at most {self.max_tokens} tokens.",
                "Raise data.max_source_tokens, or set data.too_long=cut: texts are then cut and "
                "counted.",
            )
        return encoded.features

    def load_model(self) -> nn.Module:
        """The checkpoint in fp32 with a head for the labels; says which weights are new."""
        loaded = load_classifier(
            self.model_folder,
            self.labels,
            seed=self.recipe.training.seed,
            dropout=self.recipe.model.dropout,
        )
        for note in (loaded.note, set_pad_token(loaded.model, self.tokens)):
            if note:
                self.emit(Noted(note))
        return loaded.model

    def check_model(self, model: nn.Module) -> None:
        """Loading has refused whatever lacks weights of the encoder."""

    def choose_trained(self, model: nn.Module) -> list[str]:
        """Beside an adapter the head is trained, which may be new; frozen it is never."""
        return setup.choose_trained(self.recipe, model, whole=partial(is_on_top, model))

    def build_task(self, model: nn.Module) -> ClassificationTask:
        """Packed where the model allows."""
        from attuner.tasks.classification import ClassificationTask

        wanted = self.recipe.label_task.class_weights
        weights = None
        if wanted is not None:
            weights = class_weights(self.features.targets, self.labels, wanted)
        return ClassificationTask(
            model,
            self.labels.kind,
            pads_left=self.tokens.pads_left,
            label_smoothing=self.recipe.training.label_smoothing,
            class_weights=weights,
            r_drop=self.recipe.training.r_drop,
            fixed_shapes=self.recipe.training.fixed_shapes,
        )

    def build_judge(self, trained: InTraining, folder: RunFolder) -> LabelJudge:
        """Loss, and metrics with intervals."""
        task: Any = trained.task
        return LabelJudge(trained, task, self.labels, self._parts, folder, self.emit, self._own)

    def predictions_file(self, folder: RunFolder) -> Path:
        """The run's labels."""
        return folder.predictions

    def write_model(self, model: nn.Module, folder: Path) -> None:
        """The model folder, which says which columns it was tuned on."""
        save_classifier(model, self.tokens, self.model_folder, folder)
        task = self.recipe.label_task
        usage = LabelUsage(
            task.text, task.text_pair or "", task.label, task.separator, self.max_tokens
        )
        write_label_usage(usage, folder)

    def usage(self, folder: Path) -> Mapping[str, str]:
        """How to classify with it."""
        is_pair = self.recipe.label_task.text_pair is not None
        second = ', ["And another."]' if is_pair else ""
        return {
            "in a shell": f"attuner classify {folder} FILE.csv" if is_pair
            else f'attuner classify {folder} "A text."',
            "in Python": f'attuner.load("{folder}").classify(["A text."]{second})',
            "with transformers": f'pipeline("text-classification", "{folder}")',
        }  # fmt: skip

    def seconds_of_scoring(self, model: nn.Module, task: Task) -> float:
        """Mean over some examples to be scored."""
        from attuner.inference.classifier import predict_logits
        from attuner.tasks.classification import ClassificationTask, encode

        chosen = spread([self.prepared.validation, self.prepared.test], _SCORED)
        if not chosen:
            return 0.0
        assert isinstance(task, ClassificationTask)
        features = encode(chosen, self.tokens, self.labels, max_tokens=self.max_tokens).features
        began = time.perf_counter()
        with task.prepared(model):
            predict_logits(model, task, features)
        return (time.perf_counter() - began) / len(chosen)

    def check(self, **options: Any) -> CheckedLabels:
        """What `attuner check` finds out."""
        from attuner.training.label_check import check_labels

        return check_labels(self, **options)
