"""What the trainer generates for scores is what transformers generates."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import PAD, tiny_model
from trainers import OURS, STOCK, Padding, build_text, pairs
from transformers import DataCollatorForSeq2Seq, MarianMTModel

from attuner.compat import Seq2SeqTrainer


def predictions(arm: Any, model: Any, folder: Path, asked: dict[str, Any], **more: Any) -> Any:
    seen: list[Any] = []

    def keep(found: Any) -> dict[str, float]:
        seen.append(found)
        return {"rows": float(len(found.predictions))}

    trainer = build_text(
        arm, model, folder, given={"compute_metrics": keep}, predict_with_generate=True,
        per_device_eval_batch_size=4, **more,
    )  # fmt: skip
    metrics = trainer.evaluate(**asked)
    return trainer, metrics, seen[0]


def texts(ids: Any) -> list[list[int]]:
    return [[i for i in row if i not in (PAD, -100)] for row in np.asarray(ids).tolist()]


@pytest.mark.parametrize("family", ["marian", "bart", "t5"])
@pytest.mark.parametrize(
    "asked", [{"max_length": 9}, {"max_new_tokens": 6, "num_beams": 3}, {"max_length": 30}]
)
def test_generated_ids_and_metrics_are_those_of_transformers(
    family: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    _, theirs, wanted = predictions(STOCK, tiny_model(family), tmp_path, asked)
    _, ours, found = predictions(OURS, tiny_model(family), tmp_path, asked)
    assert texts(found.predictions) == texts(wanted.predictions)
    assert texts(found.label_ids) == texts(wanted.label_ids)
    assert ours.keys() == theirs.keys()
    assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], rel=1e-5)


def test_lengths_of_the_arguments_hold(tmp_path: Path) -> None:
    options = {"generation_max_length": 7, "generation_num_beams": 2}
    _, _, wanted = predictions(STOCK, tiny_model(), tmp_path, {}, **options)
    trainer, _, found = predictions(OURS, tiny_model(), tmp_path, {}, **options)
    assert texts(found.predictions) == texts(wanted.predictions)
    assert found.predictions.shape[1] <= 7
    predicted = trainer.predict(pairs(5, seed=3), max_length=5)
    assert predicted.predictions.shape[0] == 5
    assert predicted.predictions.shape[1] <= 5
    assert "test_loss" in predicted.metrics


def test_no_prediction_holds_what_a_tokenizer_cannot_decode(tmp_path: Path) -> None:
    _, _, found = predictions(OURS, tiny_model(), tmp_path, {"max_length": 12})
    assert (found.predictions >= 0).all()


@pytest.mark.parametrize("ends", [50, [50]])
def test_what_a_text_ends_with_is_as_asked(ends: Any, tmp_path: Path) -> None:
    asked = {"max_length": 12, "eos_token_id": ends}
    _, _, wanted = predictions(STOCK, tiny_model(), tmp_path, asked)
    _, _, found = predictions(OURS, tiny_model(), tmp_path, asked)
    assert texts(found.predictions) == texts(wanted.predictions)
    assert any(50 in row for row in texts(wanted.predictions))


class OwnGenerate(MarianMTModel):
    """What it says is turned round."""

    def generate(self, *args: Any, **options: Any) -> Any:
        return super().generate(*args, **options).flip(1)


def test_a_model_with_a_generate_of_its_own_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(arm: Any) -> list[list[int]]:
        model = tiny_model()
        model.__class__ = OwnGenerate
        return texts(predictions(arm, model, tmp_path, {"max_length": 9})[2].predictions)

    assert said(OURS) == said(STOCK)
    assert "transformers generates: OwnGenerate has a generate of its own." in caplog.messages


def test_lengths_that_a_step_of_ones_own_asks_for_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Short(Seq2SeqTrainer):
        def prediction_step(self, *args: Any, **options: Any) -> Any:
            return super().prediction_step(*args, **options, max_new_tokens=3)

    trainer = build_text((Short, OURS[1]), tiny_model(), tmp_path, predict_with_generate=True)
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        found = trainer.predict(pairs(5, seed=3), max_length=12)
    assert max(map(len, texts(found.predictions))) <= 3
    assert caplog.messages == ["transformers generates: prediction_step is given max_new_tokens."]


def test_loss_beside_generated_texts_is_the_models_as_with_transformers(tmp_path: Path) -> None:
    def own(trainer: Any) -> Any:
        class OwnLoss(trainer):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
                return 7 * model(**inputs).loss

        return OwnLoss

    def loss(arm: Any, **given: Any) -> float:
        options = {"predict_with_generate": True, "label_smoothing_factor": 0.1}
        trainer = build_text(arm, tiny_model(), tmp_path, given=given, **options)
        metrics = trainer.predict(pairs(5, seed=3), max_length=6).metrics
        return float(metrics["test_loss"])

    theirs = {"compute_loss_func": lambda outputs, *_, **__: outputs.logits.sum()}
    for given in ({}, theirs):
        wanted = loss((own(STOCK[0]), STOCK[1]), **given)
        assert loss((own(OURS[0]), OURS[1]), **given) == pytest.approx(wanted, rel=1e-5)
        assert loss(OURS, **given) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("asked", "options", "reason"),
    [
        ({"do_sample": True}, {}, "generation's do_sample is True"),
        ({"eos_token_id": [0, 50]}, {}, "generation's eos_token_id is [0, 50]"),
        ({"max_length": 2}, {}, "max_new_tokens is 1"),
        ({"min_length": 3}, {}, "generation's min_length is 3"),
        ({"max_length": 6}, {"batch_eval_metrics": True}, "batch_eval_metrics is set"),
    ],
)
def test_what_ctranslate2_cannot_do_is_left_to_transformers(
    asked: dict[str, Any],
    options: dict[str, Any],
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def metrics(found: Any, compute_result: bool = True) -> dict[str, float]:
        return {"rows": float(len(found.predictions))}

    trainer = build_text(
        OURS, tiny_model(), tmp_path, given={"compute_metrics": metrics},
        predict_with_generate=True, **options,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        found = trainer.evaluate(**asked)
    assert caplog.messages == [f"transformers generates: {reason}."]
    assert "eval_rows" in found


def test_weights_of_just_now_generate(tmp_path: Path) -> None:
    trainer, _, before = predictions(OURS, tiny_model(), tmp_path, {"max_length": 12})
    trainer.args.learning_rate = 0.03
    trainer.train()
    again = trainer.predict(trainer.eval_dataset, max_length=12)
    assert texts(again.predictions) != texts(before.predictions)


def test_batches_are_held_one_at_a_time(tmp_path: Path) -> None:
    made: list[weakref.ref[Any]] = []
    held: list[int] = []
    collate = DataCollatorForSeq2Seq(Padding())

    def collate_and_note(rows: Any) -> Any:
        batch = collate(rows)
        made.append(weakref.ref(batch["input_ids"]))
        held.append(sum(tensor() is not None for tensor in made))
        return batch

    trainer = build_text(
        OURS, tiny_model(), tmp_path, given={"data_collator": collate_and_note},
        predict_with_generate=True, per_device_eval_batch_size=1,
    )  # fmt: skip
    found = trainer.predict(pairs(12), max_length=6)
    assert len(found.predictions) == 12
    assert len(made) == 24  # once to generate for all, once to be predicted
    assert max(held) <= 4  # what the loader fetches ahead, and what a loop still has a name for


def test_rows_that_come_in_another_order_have_their_own_predictions(tmp_path: Path) -> None:
    class Shuffled(Seq2SeqTrainer):
        def get_test_dataloader(self, test_dataset: Any) -> Any:
            collate = DataCollatorForSeq2Seq(Padding())
            return torch.utils.data.DataLoader(
                test_dataset, batch_size=4, shuffle=True, collate_fn=collate
            )

    build = {"predict_with_generate": True}
    wanted = build_text(OURS, tiny_model(), tmp_path, **build).predict(pairs(), max_length=9)
    trainer = build_text((Shuffled, OURS[1]), tiny_model(), tmp_path, **build)
    found = trainer.predict(pairs(), max_length=9)
    assert texts(found.label_ids) != texts(wanted.label_ids)
    by_labels = dict(zip(map(str, texts(wanted.label_ids)), texts(wanted.predictions), strict=True))
    in_order = [by_labels[str(labels)] for labels in texts(found.label_ids)]
    assert texts(found.predictions) == in_order


def test_a_stream_that_is_there_but_once_is_read_once(tmp_path: Path) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        rows = iter(list(pairs()))

        def __iter__(self) -> Iterator[Any]:
            return self.rows

    trainer = build_text(OURS, tiny_model(), tmp_path, predict_with_generate=True)
    wanted = trainer.predict(pairs(), max_length=9)
    found = trainer.predict(Stream(), max_length=9)
    assert texts(found.predictions) == texts(wanted.predictions)
    assert found.metrics["test_loss"] == pytest.approx(wanted.metrics["test_loss"])
    assert (found.predictions >= 0).all()
