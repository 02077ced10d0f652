"""The recipe: all options of a run, and which of them go together.

A recipe is frozen data. It knows nothing of torch and never enters a model, a metric or a
reader: those take plain keyword arguments. The command line's help, the reference page and
the JSON schema for editors are generated from the classes here and in `options`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from attuner.options.data import Data, Source
from attuner.options.evaluation import Evaluation
from attuner.options.model import Model
from attuner.options.output import Generation, Output, Publish
from attuner.options.section import Section, shorthand
from attuner.options.task import ClassificationTask, Task, TextToTextTask, TranslationTask
from attuner.options.training import Training

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
    if isinstance(training, Training):
        training = training.model_dump(exclude_unset=True)
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

    task: Annotated[Task, shorthand("name", Task)]
    """What the model is to learn."""
    model: Annotated[Model, shorthand("checkpoint", Model)]
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
