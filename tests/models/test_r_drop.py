"""R-Drop against a plain implementation on logits, with torch's own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_features, tiny_model
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from attuner.errors import ModelError
from attuner.models.objective import LinearCrossEntropy, Lookups
from attuner.models.r_drop import require_dropout
from attuner.tasks.translation import TranslationTask


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
