"""Classification by onnxruntime, without torch: what `attuner export --to onnx` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attuner.data.features import Ints, LabelledTexts, TokenColumn
from attuner.errors import MissingExtraError, ModelError, first_line
from attuner.inference.batches import batches_by_length
from attuner.inference.ctranslate2_engine import num_cores

if TYPE_CHECKING:
    from attuner.inference.classifier import Logits, Progress
    from attuner.models.classifier_tokens import ClassifierTokens

WEIGHTS = "model.onnx"
# Tokens of one batch, padding included.
_BATCH_TOKENS = 2048


class OnnxLabels:
    """A `LabelEngine` over an ONNX file whose inputs are called as transformers calls them.

    Args:
        folder: Holds `model.onnx`.
        tokens: Its tokenizer.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file is damaged, or wants other inputs.
    """

    def __init__(self, folder: Path, tokens: ClassifierTokens) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("Using an ONNX export", "onnx") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_cores()
        options.log_severity_level = 3  # errors; they are raised as well
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(folder / WEIGHTS), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base of their own
            raise ModelError(
                f"{folder / WEIGHTS} cannot be loaded: {first_line(error)}",
                f"Expected a file that onnxruntime {onnxruntime.__version__} reads.",
                "Copy the folder again, or export the model again.",
            ) from error
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._pad, self._pads_left = tokens.pad_token_id, tokens.pads_left
        self.name = f"onnxruntime {onnxruntime.__version__} float32"

    def predict(self, features: LabelledTexts, *, progress: Progress | None = None) -> Logits:
        """The outputs for each row; see `LabelEngine.predict`."""
        batches = batches_by_length(features.tokens.lengths.tolist(), _BATCH_TOKENS)
        parts, done = [], 0
        for batch in batches:
            rows = np.array(batch)
            parts.append(self._session.run(["logits"], self._feed(features, rows))[0])
            done += len(rows)
            if progress is not None:
                progress(done, len(features))
        found: Logits = np.concatenate(parts).astype(np.float32)
        found[np.concatenate(batches)] = found.copy()
        return found

    def _feed(self, features: LabelledTexts, rows: Ints) -> dict[str, Ints]:
        """The rows as what the file takes, each (B, S)."""
        ids, mask = self._padded(features.tokens, rows, self._pad)
        feed = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            types = features.token_types
            feed["token_type_ids"] = (
                np.zeros_like(ids) if types is None else self._padded(types, rows, 0)[0]
            )
        return feed

    def _padded(self, column: TokenColumn, rows: Ints, fill: int) -> tuple[Ints, Ints]:
        """Rows filled up to the longest, and where they are real."""
        flat, lengths = column.take(rows)
        places = np.arange(int(lengths.max()))
        is_real = (places[::-1] if self._pads_left else places) < lengths[:, None]
        padded = np.full(is_real.shape, fill, np.int64)
        padded[is_real] = flat
        return padded, is_real.astype(np.int64)
