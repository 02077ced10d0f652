"""Collate and loss of classification, beside those of transformers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_classifiers import FAMILIES, HAVE_TYPES, PACKED, PAD, tiny_classifier, tiny_texts
from torch.nn import functional as F

from attuner.data.features import LabelledTexts
from attuner.tasks.classification import ClassificationTask

CPU = torch.device("cpu")
ROWS = np.arange(24)


def plain_logits(model: Any, features: LabelledTexts, rows: np.ndarray) -> torch.Tensor:
    """Logits by transformers alone: padded on the right, with a mask."""
    pad = torch.nn.utils.rnn.pad_sequence
    ids = [torch.tensor(features.tokens[row].tolist()) for row in rows]
    input_ids = pad(ids, batch_first=True, padding_value=PAD)
    lengths = torch.tensor([len(row) for row in ids])
    inputs = {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
    }
    if features.token_types is not None:
        types = [torch.tensor(features.token_types[row].tolist()) for row in rows]
        inputs["token_type_ids"] = pad(types, batch_first=True)
    return model(**inputs).logits


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(family: str) -> None:
    model = tiny_classifier(family).train()  # there is no dropout
    features = tiny_texts(with_types=family in HAVE_TYPES)
    expected = F.cross_entropy(
        plain_logits(model, features, ROWS), torch.tensor(features.targets), reduction="sum"
    )
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()

    task = ClassificationTask(model, "single")
    with task.prepared(model):
        loss = task.loss(model, task.collate(features, ROWS, CPU))
    loss.backward()

    assert task.is_packed == (family in PACKED)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = gradients(model)
    assert found.shape == wanted.shape
    assert (found - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.parametrize("family", ["bert", "modernbert, local"])
def test_texts_that_are_too_long_for_the_kernels(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.attention._LONGEST_FOR_KERNEL", 20)
    model, features = tiny_classifier(family), tiny_texts()
    task = ClassificationTask(model, "single")
    with task.prepared(model), torch.no_grad():
        batch = task.collate(features, ROWS, CPU)
        found = task.logits(model, batch)
    order = np.argsort(features.tokens.lengths, kind="stable")
    torch.testing.assert_close(found, plain_logits(model, features, order), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "deberta-v2"])
def test_rows_are_filled_up_on_the_tokenizers_side(family: str) -> None:
    model, features = tiny_classifier(family), tiny_texts(4)
    task = ClassificationTask(model, "single", pads_left=True)
    rows = np.argsort(features.tokens.lengths, kind="stable")
    inputs = task.collate(features, rows, CPU)["inputs"]
    shortest = features.tokens[rows[0]].tolist()
    assert inputs["input_ids"][0].tolist()[-len(shortest) :] == shortest
    assert inputs["attention_mask"][0].tolist()[-len(shortest) - 1] == 0
    if family != "deberta-v2":  # which looks at the first place of a row, as encoders do
        found = task.logits(model, {"inputs": inputs})
        torch.testing.assert_close(found, plain_logits(model, features, rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_one_text_and_texts_of_one_token(family: str) -> None:
    model, features = tiny_classifier(family), tiny_texts(5, longest=2)
    task = ClassificationTask(model, "single")
    with task.prepared(model), torch.no_grad():
        for rows in (np.array([3]), np.arange(5)):
            found = task.logits(model, task.collate(features, rows, CPU))
            assert found.shape == (len(rows), 3)
    expected = plain_logits(model, features, np.arange(5))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_model_is_as_it_was_after_the_block() -> None:
    model, features = tiny_classifier(), tiny_texts()
    before = plain_logits(model, features, ROWS)
    task = ClassificationTask(model, "single")
    with task.prepared(model):
        task.loss(model, task.collate(features, ROWS, CPU))
    assert torch.equal(plain_logits(model, features, ROWS), before)


def test_without_a_layout_a_packed_model_fails_rather_than_mix_texts() -> None:
    model = tiny_classifier()
    with (
        ClassificationTask(model, "single").prepared(model),
        pytest.raises(KeyError, match="packed"),
    ):
        model(input_ids=torch.tensor([[5, 6]]))


def test_a_bert_that_is_a_decoder_is_not_packed() -> None:
    task = ClassificationTask(tiny_classifier(is_decoder=True), "single")
    assert not task.is_packed
    assert task.batches == "padded by token budget (bert: positions cannot be passed in)"


LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])


def loss_of(
    kind: Any, targets: torch.Tensor, logits: torch.Tensor = LOGITS, **options: Any
) -> float:
    smoothing = options.pop("label_smoothing", 0.0)
    task = ClassificationTask(tiny_classifier(), kind, **options)
    return task.loss_of(logits, targets, label_smoothing=smoothing).item()


def test_loss_of_one_label() -> None:
    targets = torch.tensor([0, 2])
    log = LOGITS.log_softmax(1)
    assert loss_of("single", targets) == pytest.approx(-(log[0, 0] + log[1, 2]).item())
    weighted = loss_of("single", targets, class_weights=np.array([1, 1, 4], np.float32))
    assert weighted == pytest.approx(-(log[0, 0] + 4 * log[1, 2]).item())
    smoothed = -(0.9 * (log[0, 0] + log[1, 2]) + 0.1 * log.mean(1).sum()).item()
    assert loss_of("single", targets, label_smoothing=0.1) == pytest.approx(smoothed)


def test_loss_of_several_labels_is_the_mean_over_them() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    # log(1 + exp(-x)) where the label is there, log(1 + exp(x)) where not
    signs = 1 - 2 * targets
    losses = (1 + (signs * LOGITS).exp()).log()
    assert loss_of("multi", targets) == pytest.approx(losses.sum().item() / 3)
    weights = np.array([1, 1, 5], np.float32)
    weighted = losses.sum() + 4 * losses[1, 2]
    assert loss_of("multi", targets, class_weights=weights) == pytest.approx(weighted.item() / 3)


def test_loss_of_ratings_is_the_squared_error() -> None:
    assert loss_of("rating", torch.tensor([1.0, -1.0]), LOGITS[:, :1]) == pytest.approx(1 + 1)


def test_label_smoothing_is_off_in_evaluation() -> None:
    model, features = tiny_classifier(), tiny_texts()
    task = ClassificationTask(model, "single", label_smoothing=0.3)
    with task.prepared(model), torch.no_grad():
        batch = task.collate(features, ROWS, CPU)
        evaluated = task.loss(model, batch).item()
        trained = task.loss(model.train(), batch).item()
    plain = F.cross_entropy(
        plain_logits(model.eval(), features, ROWS), torch.tensor(features.targets), reduction="sum"
    )
    assert evaluated == pytest.approx(plain.item(), rel=1e-5)
    assert trained != pytest.approx(evaluated, rel=1e-3)


@pytest.mark.usefixtures("kernels")
def test_packed_dropout_differs_between_calls_and_repeats_with_the_seed() -> None:
    model, features = tiny_classifier().train(), tiny_texts()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    task = ClassificationTask(model, "single")

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return task.loss(model, task.collate(features, ROWS, CPU)).item()

    with task.prepared(model):
        assert loss(1) == loss(1)
        assert loss(1) != loss(2)
