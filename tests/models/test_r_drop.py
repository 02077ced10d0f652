"""R-Drop against a plain implementation on logits, with torch's own functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_features, tiny_model
from tiny_classifiers import tiny_classifier, tiny_texts
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from attuner.data.labels import Kind
from attuner.errors import ModelError
from attuner.models.objective import LinearCrossEntropy, Lookups
from attuner.models.r_drop import require_dropout
from attuner.tasks.classification import ClassificationTask
from attuner.tasks.task import Batch
from attuner.tasks.translation import TranslationTask

DROPPING = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}


def plain(
    one: torch.Tensor, two: torch.Tensor, labels: torch.Tensor, alpha: float, smoothing: float
) -> torch.Tensor:
    """Half of equation 4 of Wu et al. 2021, summed over labels that are not -100."""
    ce = sum(
        cross_entropy(x, labels, label_smoothing=smoothing, reduction="sum") for x in (one, two)
    )
    real = labels != -100
    p, q = log_softmax(one[real], -1), log_softmax(two[real], -1)
    options = {"reduction": "sum", "log_target": True}
    divergence = 0.5 * (kl_div(q, p, **options) + kl_div(p, q, **options))
    return 0.5 * (ce + alpha * divergence)


@pytest.mark.parametrize("chunk", [2, 6, 64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_of_twins(chunk: int, smoothing: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(24, 16, requires_grad=True)
    weight = torch.randn(50, 16, requires_grad=True)
    bias = torch.randn(50)
    labels = torch.randint(50, (12,)).repeat_interleave(2)
    labels[[4, 5]] = -100
    logits = hidden @ weight.t() + bias

    expected = plain(logits[::2], logits[1::2], labels[::2], 3.0, smoothing)
    wanted = torch.autograd.grad(expected * 0.5, (hidden, weight))
    loss = LinearCrossEntropy.apply(hidden, weight, bias, labels, smoothing, chunk, Lookups(), 3.0)
    found = torch.autograd.grad(loss * 0.5, (hidden, weight))

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_a_batch_of_copies_is_two_passes_through_dropout(family: str) -> None:
    """The logits of both passes, seen by a hook, give the same loss by the plain way."""
    model = tiny_model(family, dropout=0.3)
    if family == "t5":
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
    task = TranslationTask(model, label_smoothing=0.1, r_drop=2.0)
    features = tiny_features(9)
    batch = task.collate(features, np.arange(9).repeat(2), torch.device("cpu"))
    seen: dict[str, torch.Tensor] = {}
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, args: seen.update(hidden=args[0].detach()))
    model.train()
    with task.prepared(model):
        loss = task.loss(model, batch)
    bias = getattr(model, "final_logits_bias", None)
    scores = seen["hidden"] @ head.weight.t() + (0 if bias is None else bias)
    if "packed" in batch:
        lengths = batch["packed"].target_lengths.tolist()
        num = sum(lengths)
        parts = scores[0, :num].split(lengths)
        labels = torch.cat(batch["targets"][0, :num].split(lengths)[::2])
        one, two = torch.cat(parts[::2]), torch.cat(parts[1::2])
    else:
        labels = batch["targets"][::2].flatten()
        one, two = scores[::2].flatten(0, 1), scores[1::2].flatten(0, 1)

    assert (one - two).abs().max() > 0.01
    torch.testing.assert_close(loss, plain(one, two, labels, 2.0, 0.1), rtol=1e-5, atol=0)


def distance(one: torch.Tensor, two: torch.Tensor, kind: str) -> torch.Tensor:
    """J by torch's own divergences, (B,)."""
    if kind == "rating":
        return (one - two).square()[:, 0]
    if kind == "multi":  # two outcomes for each label
        one, two = (torch.stack([x, torch.zeros_like(x)], -1) for x in (one, two))
    p, q = one.log_softmax(-1), two.log_softmax(-1)
    options = {"reduction": "none", "log_target": True}
    both = 0.5 * (kl_div(q, p, **options) + kl_div(p, q, **options)).sum(-1)
    return both.mean(1) if kind == "multi" else both


class Watched(ClassificationTask):
    """Keeps the logits that a loss is computed from."""

    seen: torch.Tensor

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        self.seen = super().logits(model, batch)
        return self.seen


@pytest.mark.parametrize("kind", ["single", "multi", "rating"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_copies_of_texts_are_two_passes_through_dropout(family: str, kind: Kind) -> None:
    model = tiny_classifier(family, num_labels=1 if kind == "rating" else 3, **DROPPING)
    task = Watched(model, kind, r_drop=2.0)
    features = tiny_texts(9)
    if kind == "multi":
        features = replace(features, targets=np.eye(3, dtype=np.float32)[features.targets])
    elif kind == "rating":
        features = replace(features, targets=features.targets.astype(np.float32))
    batch = task.collate(features, np.arange(9).repeat(2), torch.device("cpu"))
    model.train()
    with task.prepared(model):
        loss = task.loss(model, batch)
    logits, targets = task.seen, batch["targets"]
    apart = distance(logits[::2], logits[1::2], kind)

    assert (targets[::2] == targets[1::2]).all()
    assert apart.max() > 1e-4
    expected = task.loss_of(logits, targets) / 2 + apart.sum()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


def test_of_no_texts_the_loss_is_nothing() -> None:
    model = tiny_classifier("bert", **DROPPING)
    task = ClassificationTask(model, "single", r_drop=2.0)
    model.train()
    with task.prepared(model):
        batch = task.collate(tiny_texts(3), np.zeros(0, np.int64), torch.device("cpu"))
        assert task.loss(model, batch).item() == 0


def test_a_classifier_that_is_evaluated_has_the_plain_loss() -> None:
    model = tiny_classifier("bert", **DROPPING)
    batch = ClassificationTask(model, "single").collate(
        tiny_texts(4), np.arange(4), torch.device("cpu")
    )
    losses = []
    for alpha in (0.0, 5.0):
        task = ClassificationTask(model, "single", r_drop=alpha)
        with task.prepared(model), torch.no_grad():
            losses.append(task.loss(model, batch).item())
    assert losses[0] == losses[1]


def test_without_training_it_is_the_plain_loss() -> None:
    model, features = tiny_model(), tiny_features(5)
    losses = []
    for alpha in (0.0, 5.0):
        task = TranslationTask(model, r_drop=alpha)
        batch = task.collate(features, np.arange(5), torch.device("cpu"))
        with task.prepared(model), torch.no_grad():
            losses.append(task.loss(model, batch).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_a_model_without_dropout_is_refused(family: str) -> None:
    model = tiny_model(family)
    with pytest.raises(ModelError) as caught:
        require_dropout(model)

    assert str(caught.value) == (
        "training.r_drop: this model has no dropout, so that its two outputs are the same.\n"
        "R-Drop draws two outputs together that differ by dropout.\n"
        "Set model.dropout=0.1, or leave training.r_drop out."
    )
    require_dropout(tiny_model(dropout=0.1))


def test_a_classifier_without_dropout_is_refused() -> None:
    with pytest.raises(ModelError, match="this model has no dropout"):
        require_dropout(tiny_classifier("bert"))
    require_dropout(tiny_classifier("bert", **DROPPING))
