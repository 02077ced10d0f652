from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from plain import plain_loss
from tiny import tiny_features, tiny_model

from attuner.data.features import TokenColumn
from attuner.tasks.translation import TranslationTask, encode

CPU = torch.device("cpu")


def test_label_smoothing_is_off_in_evaluation() -> None:
    model, features, rows = tiny_model(), tiny_features(), np.arange(40)
    task = TranslationTask(model, label_smoothing=0.1)
    with task.prepared(model), torch.no_grad():
        loss = task.loss(model, task.collate(features, rows, CPU))

    assert loss.item() == pytest.approx(plain_loss(model, features, rows).item(), rel=1e-5)


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


class Letters:
    """A codec whose ids are code points."""

    pad_token_id, eos_token_id, unk_token_id, num_source_ends = 3, 0, 1, 1

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
