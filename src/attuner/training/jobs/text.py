"""Translation, and any other text → text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.stored import spread
from attuner.evaluation.evaluate import generate, require_metrics, score_texts_by
from attuner.evaluation.own_metrics import OwnMetric
from attuner.training import parts, setup, vocabulary
from attuner.training.data import prepare_data
from attuner.training.delivery import write_text_model
from attuner.training.events import DataPrepared, Noted, Progressed
from attuner.training.folder import RunFolder, new_folder
from attuner.training.jobs.job import Emit, InTraining
from attuner.training.own import find_and_try
from attuner.training.text_judge import TextJudge

if TYPE_CHECKING:
    from torch import nn

    from attuner.data.features import Ints, SequencePairs
    from attuner.data.preparation import Prepared
    from attuner.recipe import Recipe
    from attuner.tasks.task import Task
    from attuner.tasks.translation import TranslationTask
    from attuner.training.check import Checked
    from attuner.training.scoring import Part

_TRANSLATED = 128


class TextJob:
    """The part of a run that is of text → text; a `Job`, see there.

    Attributes:
        origin: Model and tokens, when they are found or learned.
        prepared: The data, when they are read.
        lowered: Which limits the recipe sets above what the model has positions for, in words.
    """

    unit = "target tokens"
    origin: setup.Origin
    prepared: Prepared

    def __init__(self, recipe: Recipe, emit: Emit) -> None:
        self.recipe = recipe
        self.emit = emit
        self.lowered: list[str] = []
        self._features: SequencePairs | None = None
        self._parts: dict[str, Part] = {}
        self._own: list[OwnMetric] = []
        self._line_counts: dict[str, dict[str, int]] = {}

    def find_model(self, vocabulary_folder: Path | None = None) -> None:
        """The metrics' libraries are looked for as well: hours are spent on what comes before."""
        require_metrics(self.recipe.text_task.metrics)
        found = setup.find_origin(self.recipe, self.emit)
        if found is None and vocabulary_folder is not None:
            found = vocabulary.load_origin(self.recipe, vocabulary_folder)
        if found is not None:
            self.origin = found

    @property
    def model_name(self) -> str:
        """The checkpoint as the recipe names it, or the family of one from scratch."""
        return self.origin.name

    @property
    def model_folder(self) -> Path | None:
        """Where its weights lie; None for random ones."""
        return self.origin.model_folder

    def read(self) -> DataPrepared:
        """Read, filter and divide the examples."""
        self.prepared = prepare_data(
            self.recipe, progress=lambda done, total: self.emit(Progressed("reading", done, total))
        )
        self._own = find_and_try(self.recipe, self._score_the_truth)
        return DataPrepared(self.prepared.counts, self.prepared.notes)

    def _score_the_truth(self, own: Sequence[OwnMetric]) -> Mapping[str, float]:
        """What own metrics say of texts that are the references themselves."""
        examples = self.prepared.validation or self.prepared.test
        if not examples:
            return {}
        texts = [example.references[0] for example in examples]
        return score_texts_by(own, texts, examples, num_resamples=0).scores

    def learn_vocabulary(self, folder: Path) -> None:
        """Learn SentencePiece's pieces of both languages, where the recipe wants that."""
        if not hasattr(self, "origin"):
            with new_folder(folder) as partial:
                vocabulary.learn(self.recipe, self.prepared, partial, self.emit)
            self.origin = vocabulary.load_origin(self.recipe, folder)
        self.recipe, self.lowered = setup.within_positions(self.recipe, self.origin)

    def encode(self) -> None:
        """Token ids of the lines, or texts; says what was cut or left out."""
        for note in self.lowered:
            self.emit(Noted(note))
        self._features, self._parts, self._line_counts = parts.encode_parts(
            self.recipe, self.prepared, self.origin, self.emit
        )
        for note in parts.notes(self.recipe, self._line_counts, "validation" in self._parts):
            self.emit(Noted(note))

    @property
    def features(self) -> SequencePairs:
        """What is learned from."""
        assert self._features is not None
        return self._features

    def all_features(self) -> Mapping[str, SequencePairs]:
        """What is learned from, and what is scored."""
        return {"train": self.features, **{n: part.features for n, part in self._parts.items()}}

    def addresses(self, rows: Ints) -> list[str]:
        """Where the examples behind rows of features come from."""
        return parts.addresses(self.prepared.train, self.features, rows)

    @property
    def parts(self) -> Sequence[str]:
        """The parts that are scored."""
        return list(self._parts)

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Numbers of entries, and of lines that are too long."""
        return {**self.prepared.counts, **self._line_counts}

    def load_model(self) -> nn.Module:
        """The checkpoint in fp32, or random weights; the task's languages are set."""
        return setup.load_model(self.recipe, self.origin)

    def check_model(self, model: nn.Module) -> None:
        """Look at its ties, weights, loss and translations, and stop where it is damaged."""
        from attuner.training.self_check import check_origin

        evaluated = [part.features for part in self._parts.values()]
        checked = check_origin(
            self.recipe, self.origin, model, self.prepared, [self.features, *evaluated]
        )
        if checked is None:
            return
        if self.recipe.model.self_check == "fail":
            checked.require_sound()
        for line in checked.lines:
            self.emit(Noted(line))

    def choose_trained(self, model: nn.Module) -> list[str]:
        """Put the recipe's adapter on, or freeze parts; returns what is trained, in words."""
        return setup.choose_trained(self.recipe, model)

    def build_task(self, model: nn.Module) -> TranslationTask:
        """Packed where the model allows."""
        from attuner.tasks.translation import TranslationTask
        from attuner.training.optimizer import keep_pad_row_zero

        keep_pad_row_zero(model)
        options = self.recipe.training
        return TranslationTask(
            model,
            label_smoothing=options.label_smoothing,
            r_drop=options.r_drop,
            fixed_shapes=options.fixed_shapes,
        )

    def build_judge(self, trained: InTraining, folder: RunFolder) -> TextJudge:
        """Token loss, and the metrics of what is generated."""
        return TextJudge(
            trained.model,
            trained.raw_model,
            trained.task,
            trained.hooks,
            self.origin.codec,
            self._parts,
            setup.generation_options(self.recipe),
            self._own,
            device=trained.device,
            computing=trained.computing,
            batch_examples=self.recipe.generation.batch_examples,
            processes=trained.processes,
            emit=self.emit,
        )

    def predictions_file(self, folder: RunFolder) -> Path:
        """The run's translations."""
        return folder.translations

    def write_model(self, model: nn.Module, folder: Path) -> None:
        """The model folder, or that of an adapter."""
        write_text_model(self.recipe, model, self.origin, folder)

    def usage(self, folder: Path) -> Mapping[str, str]:
        """How to translate with it."""
        return {
            "in a shell": f'attuner translate {folder} "Open the file"',
            "in Python": f'attuner.load("{folder}").translate("Open the file")',
            "with transformers": f'AutoModelForSeq2SeqLM.from_pretrained("{folder}")',
        }

    def seconds_of_scoring(self, model: nn.Module, task: Task) -> float:
        """Mean over some examples to be evaluated; the untuned model translates them."""
        from attuner.training.scoring import build_translator

        chosen = spread([self.prepared.validation, self.prepared.test], _TRANSLATED)
        if not chosen:
            return 0.0
        options = setup.generation_options(self.recipe)
        translator = build_translator(model, self.origin.codec, options)
        began = time.perf_counter()
        generate(
            translator, chosen, num_beams=options.num_beams, max_new_tokens=options.max_new_tokens
        )
        return (time.perf_counter() - began) / len(chosen)

    def check(self, **options: Any) -> Checked:
        """What `attuner check` finds out."""
        from attuner.training.check import check_text

        return check_text(self, **options)
