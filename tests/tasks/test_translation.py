from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import FAMILIES, PAD, tiny_features, tiny_model

from attuner.data.features import SequencePairs, TokenColumn
from attuner.tasks.translation import TranslationTask, encode

CPU = torch.device("cpu")


def plain_loss(model: Any, features: SequencePairs, rows: np.ndarray, smoothing: float) -> Any:
    """The same loss by transformers alone: padded, all logits, summed over real positions."""
    sources = [torch.tensor(features.source[row].tolist()) for row in rows]
    targets = [torch.tensor(features.target[row].tolist()) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    input_ids = pad(sources, batch_first=True, padding_value=PAD)
    lengths = torch.tensor([len(source) for source in sources])
    labels = pad(targets, batch_first=True, padding_value=-100)
    logits = model(
        input_ids=input_ids,
        attention_mask=(torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        labels=labels,
    ).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing, reduction="sum"
    )


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(family: str, smoothing: float) -> None:
    model, features, rows = tiny_model(family), tiny_features(), np.arange(40)
    model.train()  # smoothing applies; there is no dropout
    expected = plain_loss(model, features, rows, smoothing)
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()

    task = TranslationTask(model, label_smoothing=smoothing)
    with task.prepared(model):
        loss = task.loss(model, task.collate(features, rows, CPU))
    loss.backward()

    assert task.is_packed == (family == "marian")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (gradients(model) - wanted).norm() / wanted.norm() < 1e-5


def test_label_smoothing_is_off_in_evaluation() -> None:
    model, features, rows = tiny_model(), tiny_features(), np.arange(40)
    task = TranslationTask(model, label_smoothing=0.1)
    with task.prepared(model), torch.no_grad():
        loss = task.loss(model, task.collate(features, rows, CPU))

    assert loss.item() == pytest.approx(plain_loss(model, features, rows, 0.0).item(), rel=1e-5)


def test_the_model_is_as_it_was_after_the_block() -> None:
    model, features, rows = tiny_model(), tiny_features(8), np.arange(8)
    before = plain_loss(model, features, rows, 0.0).item()
    task = TranslationTask(model)
    with task.prepared(model):
        task.loss(model, task.collate(features, rows, CPU))

    assert plain_loss(model, features, rows, 0.0).item() == before


def test_logits_are_never_held_as_a_whole() -> None:
    model, features, rows = tiny_model(), tiny_features(40), np.arange(40)
    task = TranslationTask(model)
    with task.prepared(model):
        output = model(**task.collate(features, rows, CPU), use_cache=False)

    assert output.logits.numel() == 0


def test_without_a_layout_a_packed_model_fails_rather_than_mix_sequences() -> None:
    model = tiny_model()
    task = TranslationTask(model)
    ids = torch.tensor([[5, 6, 0]])
    with task.prepared(model), pytest.raises(KeyError, match="packed"):
        model(input_ids=ids, decoder_input_ids=ids, targets=ids)


@pytest.mark.usefixtures("kernels")
def test_packed_dropout_differs_between_calls_and_repeats_with_the_seed() -> None:
    model, features, rows = tiny_model(dropout=0.3), tiny_features(), np.arange(40)
    model.train()
    task = TranslationTask(model)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return task.loss(model, task.collate(features, rows, CPU)).item()

    with task.prepared(model):
        assert loss(1) == loss(1)
        assert loss(1) != loss(2)


class Letters:
    """A codec whose ids are code points."""

    pad_token_id, eos_token_id, unk_token_id = 3, 0, 1

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        return TokenColumn.from_lists([[*map(ord, text), 0] for text in texts])

    encode_target = encode_source


def test_long_sides_are_cut_and_counted_and_keep_their_end() -> None:
    encoded = encode(
        [("abcdef", "xy", 0), ("ab", "uvwxyz", 1)],
        Letters(),  # type: ignore[arg-type]
        max_source_tokens=4,
        max_target_tokens=5,
    )

    assert encoded.counts == {"source cut": 1, "target cut": 1}
    assert encoded.features.source[0].tolist() == [*map(ord, "abc"), 0]
    assert encoded.features.target[1].tolist() == [*map(ord, "uvwx"), 0]
    assert encoded.features.target[0].tolist() == [*map(ord, "xy"), 0]


def test_pairs_of_many_chunks_stay_in_order() -> None:
    pairs = [("a" * (1 + i % 7), "b" * (1 + i % 5), i) for i in range(2_345)]
    heard: list[tuple[int, int]] = []
    encoded = encode(
        pairs,
        Letters(),  # type: ignore[arg-type]
        max_source_tokens=6,
        too_long="skip",
        progress=lambda done, total: heard.append((done, total)),
    )

    kept = [pair for pair in pairs if len(pair[0]) < 6]
    assert encoded.counts == {"too long": len(pairs) - len(kept)}
    assert encoded.features.example.tolist() == [index for _, _, index in kept]
    assert encoded.features.source.lengths.tolist() == [len(source) + 1 for source, _, _ in kept]
    assert encoded.features.target.lengths.tolist() == [len(target) + 1 for _, target, _ in kept]
    assert heard == [(1000, 2345), (2000, 2345), (2345, 2345)]


def test_long_sides_are_skipped_on_request_and_rows_know_their_example() -> None:
    encoded = encode(
        [("abcdef", "xy", 0), ("ab", "uv", 1), ("c", "d", 1)],
        Letters(),  # type: ignore[arg-type]
        weights=[1.0, 2.0],
        max_source_tokens=4,
        too_long="skip",
    )

    assert encoded.counts == {"too long": 1}
    assert encoded.features.example.tolist() == [1, 1]
    assert encoded.features.weight.tolist() == [2.0, 2.0]
