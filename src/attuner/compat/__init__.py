"""What scripts written for older libraries import: only the import lines change.

    from attuner.compat import Seq2SeqTrainer, Seq2SeqTrainingArguments, load_dataset, evaluate

The trainers are transformers' own with Attuner's batches, loss, number format and generation.
Importing the package executes nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attuner.lazy_names import lazy_names

if TYPE_CHECKING:
    from attuner.compat import evaluate as evaluate
    from attuner.compat.arguments import Seq2SeqTrainingArguments as Seq2SeqTrainingArguments
    from attuner.compat.arguments import TrainingArguments as TrainingArguments
    from attuner.compat.datasets import load_dataset as load_dataset
    from attuner.compat.evaluate import load_metric as load_metric
    from attuner.compat.optimization import AdamW as AdamW
    from attuner.compat.pipelines import pipeline as pipeline
    from attuner.compat.repository import Repository as Repository
    from attuner.compat.repository import get_full_repo_name as get_full_repo_name
    from attuner.compat.seq2seq_trainer import Seq2SeqTrainer as Seq2SeqTrainer
    from attuner.compat.trainer import Trainer as Trainer

_WHERE = {
    "AdamW": "attuner.compat.optimization",
    "Repository": "attuner.compat.repository",
    "Seq2SeqTrainer": "attuner.compat.seq2seq_trainer",
    "Seq2SeqTrainingArguments": "attuner.compat.arguments",
    "Trainer": "attuner.compat.trainer",
    "TrainingArguments": "attuner.compat.arguments",
    "evaluate": "attuner.compat.evaluate",  # a module, as the library of that name is
    "get_full_repo_name": "attuner.compat.repository",
    "load_dataset": "attuner.compat.datasets",
    "load_metric": "attuner.compat.evaluate",
    "pipeline": "attuner.compat.pipelines",
}

__all__ = sorted(_WHERE)
__getattr__ = lazy_names(__name__, _WHERE)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
