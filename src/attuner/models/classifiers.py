"""Load and save text classifiers: any model that AutoModelForSequenceClassification knows.

The head may be new, which is announced; of the encoder no weight may be missing. What the labels
mean stands in the model's configuration, where every library that loads the folder finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.labels import Kind, LabelSet
from attuner.errors import ModelError, first_line
from attuner.models.exports import refuse_export
from attuner.models.json_files import REMEDY, read_json_object
from attuner.models.loading import is_for_labels, quiet_transformers, require_fitting, save_model
from attuner.models.trust import refuse_absurd_sizes

if TYPE_CHECKING:
    from torch import nn

    from attuner.models.classifier_tokens import ClassifierTokens

# What transformers calls the kinds of labels.
PROBLEM_TYPES: dict[Kind, str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "rating": "regression",
}
DEFAULT_THRESHOLD = 0.5
# Kept in config.json: the probability from which on a label of several is given.
_THRESHOLD = "attuner_threshold"
# The names of dropout of hidden states, in the families' configurations.
_DROPOUT = ("hidden_dropout_prob", "dropout", "dropout_rate", "resid_pdrop", "mlp_dropout")


@dataclass(frozen=True, slots=True)
class LoadedClassifier:
    """A model in memory, and what is new in it.

    Attributes:
        model: In fp32 and evaluation mode.
        new_weights: Names of the weights that start at random.
        old_labels: Labels of a head of the checkpoint that was for others, and is replaced.
    """

    model: nn.Module
    new_weights: tuple[str, ...] = ()
    old_labels: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What the user should know of the head; "" where all weights are the checkpoint's."""
        if not self.new_weights:
            return ""
        num = len(self.new_weights)
        weights = (
            f"{num} weights, {self.new_weights[0]} first, start"
            if num > 1
            else (f"{self.new_weights[0]} starts")
        )
        why = f" (the checkpoint's is for {', '.join(self.old_labels)})" if self.old_labels else ""
        return f"The head that gives the labels is new{why}: {weights} at random."


def load_classifier(
    folder: Path, labels: LabelSet | None = None, *, seed: int = 0, dropout: float | None = None
) -> LoadedClassifier:
    """Load a classifier with fp32 weights.

    Args:
        folder: A model folder.
        labels: The labels that it is to learn; those that it has learned where None.
        seed: Of a new head's random weights.
        dropout: Replaces the checkpoint's dropout of hidden states.

    Raises:
        ModelError: transformers has no classifier of this family, weights are damaged, or weights
            of the encoder are missing, or (without `labels`) those of the head.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    refuse_export(folder)
    old = labels_of(folder)
    with _in_words(folder):
        refuse_absurd_sizes(folder)
        config = _config_of(folder)
        if labels is not None:
            _describe(config, labels)
        if dropout is not None:
            _set_dropout(config, dropout)
        with quiet_transformers(), _no_load_report(), torch.random.fork_rng():
            torch.manual_seed(seed)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # refused below, in words
                output_loading_info=True,
            )
    mismatched = {key[0]: key for key in info["mismatched_keys"]}
    is_to_learn = labels is not None
    require_fitting(
        folder,
        [mismatched[n] for n in mismatched if not (is_to_learn and is_on_top(model, n))],
    )
    new = sorted({*info["missing_keys"], *mismatched})
    _refuse_new(folder, model, new, labels)
    is_for_others = labels is not None and old is not None and old != labels
    if is_for_others and not set(head_of(model)) <= set(new):
        _renew_head(model, seed)
        new = head_of(model)
    model.eval()
    return LoadedClassifier(model, tuple(new), old.names if is_for_others and old else ())


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """Say of a folder what transformers trips over, whatever it raises: the folder is at fault."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{folder} cannot be loaded as a classifier: {first_line(error)}",
            "Expected a model that transformers' AutoModelForSequenceClassification loads.",
        ) from error


def _config_of(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def longest_text(model_folder: Path, tokens: ClassifierTokens, wanted: int) -> int:
    """The longest text, or pair of texts, in tokens: as wanted, or what the model can take.

    Raises:
        ModelError: The model's configuration cannot be read.
    """
    from attuner.models.encoder_packing import longest_input

    with _in_words(model_folder):
        config = _config_of(model_folder)
    return min(limit for limit in (wanted, tokens.longest, longest_input(config)) if limit)


def labels_of(folder: Path) -> LabelSet | None:
    """The labels that a folder's classifier has learned; None where it is none.

    A name such as `LABEL_0` is transformers' way to say that there is none.

    Raises:
        ModelError: They are not named by numbers.
    """
    config = read_json_object(folder / "config.json")
    if not is_for_labels(config):
        return None
    problem = config.get("problem_type")
    kind: Kind = next((kind for kind, name in PROBLEM_TYPES.items() if name == problem), "single")
    # Configurations leave out what is transformers' default: two labels without names.
    by_id = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(by_id, dict) or not all(key.isdecimal() for key in by_id):
        raise ModelError(
            f"{folder / 'config.json'}: id2label is {by_id!r:.60}.",
            'It is an object with the name of each label by its number, {"0": "bad", "1": "good"}.',
            REMEDY,
        )
    names = tuple(str(by_id[key]) for key in sorted(by_id, key=int))
    return LabelSet("rating") if len(names) == 1 and kind != "multi" else LabelSet(kind, names)


def threshold_of(folder: Path) -> float:
    """The probability from which on a label of several is given.

    Raises:
        ModelError: The folder names one that is no probability.
    """
    found = read_json_object(folder / "config.json").get(_THRESHOLD, DEFAULT_THRESHOLD)
    if type(found) not in (int, float) or not 0 <= found <= 1:
        raise ModelError(
            f"{folder / 'config.json'}: {_THRESHOLD} is {found!r:.60}.",
            "It is a probability, from 0 to 1.",
            REMEDY,
        )
    return float(found)


def set_threshold(model: nn.Module, threshold: float) -> None:
    """Keep a threshold in the model's configuration, so that it is saved with the model."""
    setattr(model.config, _THRESHOLD, threshold)


def set_pad_token(model: nn.Module, tokens: ClassifierTokens) -> str:
    """Let the model know the pad token; a line that says so where the checkpoint has none."""
    config: Any = model.config
    if config.pad_token_id is None:
        config.pad_token_id = tokens.pad_token_id
    if not tokens.borrows_pad:
        return ""
    return (
        f"The checkpoint has no pad token: its end token {tokens.tokenizer.eos_token} serves as "
        "one, and is delivered so."
    )


def save_classifier(
    model: nn.Module, tokens: ClassifierTokens, tokenizer_folder: Path, folder: Path
) -> None:
    """Write a model folder that transformers loads: weights, configuration, tokenizer."""
    save_model(model, tokenizer_folder, folder)
    if tokens.borrows_pad:  # otherwise the tokenizer is the checkpoint's own to the byte
        tokens.tokenizer.save_pretrained(folder)


def _describe(config: Any, labels: LabelSet) -> None:
    """Write the labels into a configuration."""
    names = labels.names or ("rating",)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: place for place, name in enumerate(names)}
    config.problem_type = PROBLEM_TYPES[labels.kind]


def _set_dropout(config: Any, dropout: float) -> None:
    for name in _DROPOUT:
        if hasattr(config, name):
            setattr(config, name, dropout)
            return


def head_of(model: nn.Module) -> list[str]:
    """Names of the weights that are not the encoder's."""
    prefix = f"{model.base_model_prefix}."
    return sorted(name for name in model.state_dict() if not name.startswith(prefix))


def is_on_top(model: nn.Module, name: str) -> bool:
    """Whether a weight or module belongs to the head, or to BERT's pooler, which may be new too."""
    prefix = f"{model.base_model_prefix}."
    return not name.startswith(prefix) or name.startswith(f"{prefix}pooler.")


def _refuse_new(folder: Path, model: nn.Module, new: list[str], labels: LabelSet | None) -> None:
    """See that no weight starts at random but the head's, and those only where it is to learn.

    BERT's pooler counts as the head: checkpoints that learned to fill in words have none.
    """
    missing = [name for name in new if not is_on_top(model, name)]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} weights of the encoder are missing, {missing[0]} first.",
            "Expected a complete checkpoint; only the head that gives the labels may be new.",
            "Download or save the checkpoint again.",
        )
    if new and labels is None:
        raise ModelError(
            f"{folder} is no classifier yet: {new[0]} is missing.",
            "Expected a model that was trained to give labels.",
            "Train it first: attuner train --task classification --model "
            f"{folder} --data FILE --text COLUMN --label COLUMN",
        )


def _renew_head(model: Any, seed: int) -> None:
    """Replace the head's weights by random ones: they stand for other labels."""
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        fresh = type(model)(model.config).state_dict()
        weights = model.state_dict()
        for name in head_of(model):
            weights[name].copy_(fresh[name])


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Keep transformers from listing new weights in a table: `LoadedClassifier.note` says it.

    By a filter: at another level of its logger, transformers warns of layers not sharded.
    """
    logger = logging.getLogger("transformers.modeling_utils")

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)
