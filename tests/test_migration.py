"""Each row of the page on migration: the old spelling fails as it says, the new ones work."""

from __future__ import annotations

import builtins
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from datasets import Dataset
from pairs import PAIRS
from tiny_classifiers import tiny_classifier

PAGE = Path(__file__).parents[1] / "docs" / "migrate.md"
_CODE = re.compile(r"`([^`]+)`")


def rows() -> list[tuple[str, str, str, str]]:
    """The cells of each row, without headers and rules."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in tables]  # type: ignore[misc]


def code(cell: str) -> str:
    """What a cell has to run; "" where it has words."""
    found = _CODE.fullmatch(cell)
    return found[1] if found else ""


@pytest.fixture
def names(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the rows speak of."""
    import accelerate
    import datasets
    import keras
    import sacrebleu
    import sklearn.metrics
    import torch

    import attuner
    import attuner.compat.keras
    from attuner import compat

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "evaluate", None)  # also where it is installed
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    (tmp_path / "opus-mt-en-fr").symlink_to(marian)
    (tmp_path / "kde4").mkdir()
    (tmp_path / "kde4" / "kde4.py").write_text("import datasets\n")
    lines = [json.dumps({"translation": {"en": s, "fr": t}}) for s, t in PAIRS.items()]
    (tmp_path / "strings.jsonl").write_text("\n".join(lines), "utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(marian)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(marian)
    texts = list(PAIRS)
    options = {"use_cpu": True, "report_to": [], "max_steps": 1, "disable_tqdm": True}
    tokenized = Dataset.from_dict(dict(tokenizer(texts, text_target=list(PAIRS.values()))))
    collator = transformers.DataCollatorForSeq2Seq(tokenizer, model=model)
    keras_model = compat.keras.TaskModel(transformers.AutoModelForSeq2SeqLM.from_pretrained(marian))
    keras_model.compile("sgd")
    yield {
        "accelerate": accelerate, "attuner": attuner, "compat": compat, "datasets": datasets,
        "keras": keras, "os": os, "sacrebleu": sacrebleu, "sklearn": sklearn, "torch": torch,
        "transformers": transformers,
        "texts": texts, "tokenizer": tokenizer, "model": model,
        "tokenized": tokenized, "collator": collator,
        "loader": torch.utils.data.DataLoader(tokenized, batch_size=8, collate_fn=collator),
        "keras_model": keras_model, "score": len, "classifier": tiny_classifier(),
        "args": compat.TrainingArguments("out", **options),
        "text_args": compat.Seq2SeqTrainingArguments(
            "out", predict_with_generate=True, **options
        ),
    }  # fmt: skip
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row(row: tuple[str, str, str, str], names: dict[str, Any]) -> None:
    old, says, today, ours = row
    with pytest.raises(getattr(builtins, code(says))):
        exec(code(old), dict(names))
    assert code(today)
    exec(code(today), dict(names))
    exec(code(ours), dict(names))


def test_the_page_covers_what_the_chapters_use() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in (
        "AdamW", "evaluation_strategy", "tokenizer=", "as_target_tokenizer",
        'pipeline("translation', "load_metric", "evaluate.load", "Repository", "kde4",
        "TFAutoModelForSeq2SeqLM",
        "to_tf_dataset", "compile", "fit", "fp16=True",
    ):  # fmt: skip
        assert name in page
    assert len(rows()) >= 35
    assert all(len(row) == 4 for row in rows())
