"""A classifier as an ONNX file, through `torch.onnx.export`, compared with the model at once."""

from __future__ import annotations

import inspect
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attuner.errors import MissingExtraError, ModelError, first_line
from attuner.inference.onnx_engine import WEIGHTS
from attuner.publishing.origin import Origin, copy_around

if TYPE_CHECKING:
    from torch import Tensor, nn

NUMBER_FORMATS = ("float32",)
# Batch and length of what is traced. Both must be above 1: torch takes 1 for a constant.
_TRACED = (2, 8)
# And of what is compared afterwards: a single token, a single row, rows of different lengths.
_COMPARED = ((1, 1), (1, 9), (5, 13))
_TOLERANCE = 1e-3
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir")


def require(origin: Origin, number_format: str) -> None:
    """Refuse what is not exported to ONNX, before anything is loaded.

    Raises:
        ModelError: It is a model that writes text.
        MissingExtraError: A library is not installed.
    """
    if origin.labels is None:
        raise ModelError(
            f"{origin.name} writes text: only classifiers are exported to ONNX.",
            "Writing text needs a search around the model, which an ONNX file does not hold.",
            f"Export it for CTranslate2: attuner export {origin.name} --to ctranslate2",
        )
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("Export to ONNX", "onnx") from None


def write(origin: Origin, folder: Path, number_format: str) -> None:
    """Write `model.onnx` with batch and length of any size, the labels and the tokenizer.

    Raises:
        ModelError: The model cannot be loaded, or torch.onnx.export does not convert it rightly.
    """
    from attuner.inference.classifier import limits_of
    from attuner.models.classifier_tokens import ClassifierTokens
    from attuner.models.classifier_usage import read_label_usage, write_label_usage
    from attuner.models.classifiers import load_classifier, set_pad_token

    tokens = ClassifierTokens(origin.folder)
    model: Any = load_classifier(origin.folder).model
    set_pad_token(model, tokens)
    usage = read_label_usage(origin.folder)
    takes = inspect.signature(model.forward).parameters
    names = ["input_ids", "attention_mask"]
    has_types = "token_type_ids" in takes and "token_type_ids" in tokens.tokenizer.model_input_names
    if has_types and (usage.text_pair or _first_type_is_none(_Logits(model))):
        names.append("token_type_ids")
    if "use_cache" in takes:
        model.config.use_cache = False
    _export(origin, _Logits(model), names, folder / WEIGHTS)
    _require_equal(origin, _Logits(model), names, folder / WEIGHTS)
    shutil.copyfile(origin.folder / "config.json", folder / "config.json")
    copy_around(origin, folder)
    limits = limits_of(origin.folder, tokens, model.config)
    write_label_usage(replace(usage, max_tokens=min(limits, default=512)), folder)


class _Logits:
    """The model as a function of the inputs that the file takes."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.vocabulary = int(model.config.vocab_size)  # type: ignore[union-attr,arg-type]
        self.pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        with torch.no_grad():
            logits: Tensor = self.model(**inputs).logits
        return logits

    def module(self, names: list[str]) -> nn.Module:
        """The model with these inputs by their place, and the logits as its only output."""
        from torch import nn

        class Traced(nn.Module):
            def __init__(self, model: nn.Module) -> None:
                super().__init__()
                self.model = model

            def forward(self, *values: Tensor) -> Tensor:
                logits: Tensor = self.model(**dict(zip(names, values, strict=True))).logits
                return logits

        return Traced(self.model).eval()

    def inputs(self, names: list[str], shape: tuple[int, int]) -> dict[str, Tensor]:
        """Random ids, each row shorter than the one before, filled up on the right."""
        import torch

        random = np.random.default_rng(0)
        ids = torch.from_numpy(random.integers(0, self.vocabulary, shape))
        lengths = torch.arange(shape[1], shape[1] - shape[0], -1).clamp(min=1)
        mask = (torch.arange(shape[1]) < lengths[:, None]).long()
        if self.pad < self.vocabulary:
            ids = torch.where(
                (ids == self.pad) & (mask == 1), (self.pad + 1) % self.vocabulary, ids
            )
        made = {
            "input_ids": torch.where(mask == 1, ids, self.pad),
            "attention_mask": mask,
            "token_type_ids": torch.zeros_like(mask),
        }
        return {name: made[name] for name in names}


def _first_type_is_none(logits: _Logits) -> bool:
    """Whether a single text is the same with types of 0 and without: GPT-2 adds a token's vector.

    Single texts are given without types; a file that takes them is given zeros.
    """
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = logits.inputs(names, _TRACED)
    found = logits(inputs)
    del inputs["token_type_ids"]
    return bool((found - logits(inputs)).abs().max() <= _TOLERANCE)


def _export(origin: Origin, logits: _Logits, names: list[str], file: Path) -> None:
    import torch

    inputs = logits.inputs(names, _TRACED)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                logits.module(names),
                tuple(inputs.values()),
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=(tuple(axes for _ in names),),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever torch trips over, it cannot trace this model
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        raise ModelError(
            f"torch.onnx.export cannot convert this {origin.family} model: {first_line(error)}",
            "Expected a model that can be traced with batches and texts of any size.",
            f"Use its model folder as it is, or a smaller one: attuner export {origin.name} "
            "--to transformers --dtype bfloat16",
        ) from error
    with _quiet():
        program.save(str(file))


def _require_equal(origin: Origin, logits: _Logits, names: list[str], file: Path) -> None:
    """Refuse a file whose outputs are others than the model's: tracing can be silently wrong."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    for shape in _COMPARED:
        inputs = logits.inputs(names, shape)
        wanted = logits(inputs).numpy()
        found = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]
        worst = float(np.abs(found - wanted).max())
        if not worst <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise ModelError(
                f"torch.onnx.export converts this {origin.family} model wrongly: outputs differ by "
                f"{worst:.3g}.",
                "Expected the model's own outputs, for batches and texts of any size.",
                f"Use its model folder as it is, or a smaller one: attuner export {origin.name} "
                "--to transformers --dtype bfloat16",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what tracing warns of off the terminal: the outcome is compared."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
