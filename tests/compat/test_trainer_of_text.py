"""A trainer that drops in learns what transformers' trainer learns, from the same batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny import tiny_model
from trainers import (
    OURS,
    STOCK,
    Padding,
    assert_same_history,
    assert_same_updates,
    build_text,
    pairs,
    train_text,
)
from transformers import DataCollatorForSeq2Seq

from attuner.compat import Seq2SeqTrainer
from attuner.compat.optimization import TrainerAdamW


@pytest.mark.parametrize("family", ["marian", "bart", "m2m_100", "t5", "mbart"])
def test_history_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    wanted = train_text(STOCK, tiny_model(family), tmp_path, eval_strategy="epoch")
    found = train_text(OURS, tiny_model(family), tmp_path, eval_strategy="epoch")
    assert_same_history(found, wanted)
    assert isinstance(found.optimizer.optimizer, TrainerAdamW)


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_label_smoothing_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    options = {"label_smoothing_factor": 0.2, "eval_strategy": "epoch"}
    wanted = train_text(STOCK, tiny_model(family), tmp_path, **options)
    found = train_text(OURS, tiny_model(family), tmp_path, **options)
    assert_same_history(found, wanted)


def test_an_update_is_the_mean_over_its_tokens_however_it_is_accumulated(tmp_path: Path) -> None:
    whole = train_text(OURS, tiny_model(), tmp_path)
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    cut = train_text(OURS, tiny_model(), tmp_path, **options)
    assert_same_updates(cut, whole)


def test_transformers_adds_means_of_micro_batches_up(tmp_path: Path) -> None:
    """As the page on dropping in says; where this fails, the page is to be changed."""
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    theirs = train_text(STOCK, tiny_model(), tmp_path, **options).state.log_history[0]
    ours = train_text(OURS, tiny_model(), tmp_path, **options).state.log_history[0]
    assert theirs["loss"] == pytest.approx(4 * ours["loss"], rel=0.05)


def test_padded_batches_are_cut_where_padding_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attuner.compat import batches

    whole = train_text(OURS, tiny_model("t5"), tmp_path)
    monkeypatch.setattr(batches, "MAX_PADDED_TOKENS", 20)
    cut = train_text(OURS, tiny_model("t5"), tmp_path)
    assert_same_history(cut, whole)


def test_bf16_copies_learn_the_same_but_for_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: True)
    exact = train_text(OURS, tiny_model(), tmp_path)
    rounded = train_text(OURS, tiny_model(), tmp_path, precision="auto")
    assert all(p.dtype == torch.float32 for p in rounded.model.parameters())
    assert rounded.optimizer.optimizer._copies
    assert rounded.accelerator.mixed_precision == "no"
    losses = [
        [line["loss"] for line in trainer.state.log_history if "loss" in line]
        for trainer in (rounded, exact)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_ends_as_if_it_had_not_stopped(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: True)
    options = {"precision": precision, "save_strategy": "steps", "save_steps": 2}
    through = train_text(OURS, tiny_model(dropout=0.1), tmp_path / "through", **options)
    stopped = build_text(OURS, tiny_model(dropout=0.1), tmp_path / "stopped", **options)
    stopped.add_callback(StopAt(4))
    stopped.train()
    assert stopped.state.global_step == 4
    resumed = build_text(OURS, tiny_model(dropout=0.1, seed=1), tmp_path / "stopped", **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6
    wanted = dict(through.model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, wanted[name]), name


class StopAt(transformers.TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop = state.global_step == self.step
        return control


def test_a_callback_may_generate_amid_training(tmp_path: Path) -> None:
    made = []

    class Generating(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
            made.append(model.generate(torch.tensor([[5, 6, 0]]), max_new_tokens=3))

    train_text(OURS, tiny_model(), tmp_path, given={"callbacks": [Generating()]})
    assert len(made) == 6


class OwnLoss(Seq2SeqTrainer):
    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


def no_mask(rows: Any) -> Any:
    batch = DataCollatorForSeq2Seq(Padding())(rows)
    batch["decoder_attention_mask"] = batch["labels"].ne(-100).long()
    return batch


def left(rows: Any) -> Any:
    batch = dict(DataCollatorForSeq2Seq(Padding())(rows))
    return {**batch, **{n: batch[n].flip(1) for n in ("input_ids", "attention_mask")}}


def shifted_otherwise(rows: Any) -> Any:
    batch = dict(DataCollatorForSeq2Seq(Padding())(rows))
    return {**batch, "decoder_input_ids": batch["labels"].clamp(min=0)}


def their_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    logits = outputs.logits.flatten(0, 1)
    summed = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")
    return summed / num_items_in_batch


@pytest.mark.parametrize(
    ("ours", "given", "options", "reason"),
    [
        (OwnLoss, {}, {}, "OwnLoss has a compute_loss of its own"),
        (Seq2SeqTrainer, {"compute_loss_func": their_loss}, {}, "compute_loss_func is given"),
        (Seq2SeqTrainer, {"data_collator": no_mask}, {}, "batches hold decoder_attention_mask"),
        (Seq2SeqTrainer, {"data_collator": left}, {}, "rows are empty, or filled up on the left"),
        (Seq2SeqTrainer, {"data_collator": shifted_otherwise}, {},
         "decoder_input_ids are not the labels behind the start token"),
        (Seq2SeqTrainer, {}, {"gradient_checkpointing": True}, "activations are checkpointed"),
        (Seq2SeqTrainer, {}, {"neftune_noise_alpha": 5.0}, "neftune_noise_alpha is set"),
    ],
)  # fmt: skip
def test_what_attuner_does_not_know_is_left_to_transformers(
    ours: Any,
    given: dict[str, Any],
    options: dict[str, Any],
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = given if "compute_loss" not in vars(ours) else {}
    wanted = train_text(STOCK, tiny_model(), tmp_path, given=theirs, **options)
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        arm = (ours, OURS[1])
        found = train_text(arm, tiny_model(), tmp_path, given=given, precision="fp32", **options)
    assert caplog.messages.count(f"transformers computes the loss: {reason}.") == 1
    assert_same_history(found, wanted)


class OwnForward(transformers.MarianMTModel):
    """Its loss and what it says are others than those of its weights."""

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any
    ) -> Any:
        found = super().forward(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, **more
        )
        if labels is not None:
            found.loss = 3 * found.loss
        found.logits = -found.logits
        return found


def test_a_model_with_a_forward_of_its_own_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(arm: Any, **options: Any) -> Any:
        model = tiny_model()
        model.__class__ = OwnForward
        return train_text(arm, model, tmp_path, predict_with_generate=True, **options)

    wanted, found = train(STOCK), train(OURS)
    assert_same_history(found, wanted)
    theirs, ours = (arm.predict(pairs(5, seed=3), max_length=9) for arm in (wanted, found))
    assert ours.predictions.tolist() == theirs.predictions.tolist()
    assert ours.metrics["test_loss"] == pytest.approx(theirs.metrics["test_loss"], rel=1e-5)
    assert caplog.messages == [
        "transformers computes the loss: OwnForward has a forward of its own.",
        "transformers generates: OwnForward has a forward of its own.",
    ]


def test_inputs_that_a_trainer_prepares_itself_are_learned(tmp_path: Path) -> None:
    def own(trainer: Any) -> Any:
        class OwnInputs(trainer):  # type: ignore[misc]
            def _prepare_inputs(self, inputs: Any) -> Any:
                made = super()._prepare_inputs(inputs)
                return {**made, "labels": made["labels"].clamp_max(9)}

        return OwnInputs

    wanted = train_text((own(STOCK[0]), STOCK[1]), tiny_model(), tmp_path)
    found = train_text((own(OURS[0]), OURS[1]), tiny_model(), tmp_path, precision="fp32")
    assert_same_history(found, wanted)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_number_format_that_is_asked_for_is_taken_with_a_loss_of_ones_own(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: True)
    arm = (OwnLoss, OURS[1])
    trainer = build_text(arm, tiny_model(), tmp_path, precision=precision)
    assert trainer.accelerator.mixed_precision == {"fp32": "no", "bf16": "bf16"}[precision]
    trainer = build_text(arm, tiny_model(), tmp_path, precision="auto")
    assert trainer.accelerator.mixed_precision == "no"


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"optim": "sgd"}, "optim is sgd"), ({"optim": "adafactor"}, "optim is adafactor")],
)
def test_other_optimizers_are_transformers(
    options: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = train_text(STOCK, tiny_model(), tmp_path, **options)
    with caplog.at_level(logging.INFO, "attuner.compat"):
        found = train_text(OURS, tiny_model(), tmp_path, **options)
    assert f"transformers' optimizer is used: {reason}." in caplog.messages
    assert_same_history(found, wanted, 1e-4)


def test_a_user_may_bring_optimizer_sampler_and_step(tmp_path: Path) -> None:
    seen = []

    class Mine(Seq2SeqTrainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(inputs["input_ids"])
            return super().training_step(model, inputs, *args, **kwargs)

    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    before = model.model.shared.weight.clone()
    arm = (Mine, OURS[1])
    trainer = train_text(arm, model, tmp_path, given={"optimizers": (optimizer, scheduler)})
    first = pairs()[:8]["input_ids"]
    assert [ids[mask].tolist() for ids, mask in zip(seen[0], seen[0] != 3, strict=True)] == first
    assert trainer.optimizer.optimizer is optimizer
    assert not torch.equal(before, model.model.shared.weight)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_user_may_bring_adamw_and_a_schedule(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: True)

    def train(arm: Any, **options: Any) -> Any:
        model = tiny_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return train_text(
            arm, model, tmp_path, given={"optimizers": (optimizer, scheduler)},
            eval_strategy="epoch", **options,
        )  # fmt: skip

    wanted = train(STOCK)
    found = train(OURS, precision=precision)
    assert type(found.optimizer.optimizer) is torch.optim.AdamW
    if precision == "fp32":
        assert_same_history(found, wanted)
        return
    assert found.accelerator.mixed_precision == "bf16"
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in found.model.parameters() if p.grad is not None} <= {torch.float32}
    assert [line["learning_rate"] for line in found.state.log_history if "loss" in line] == [
        line["learning_rate"] for line in wanted.state.log_history if "loss" in line
    ]
    for ours, theirs in zip(found.state.log_history, wanted.state.log_history, strict=True):
        for name in {"loss", "grad_norm", "eval_loss"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=0.02), name
            assert ours[name] != theirs[name], name
