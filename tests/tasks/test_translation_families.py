"""The fast path of every family against plain transformers: loss, gradients, decoder inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from plain import assert_near, gradients, plain_batch, plain_loss
from tiny import EOS, FAMILIES, PACKED, PAD, tiny_features, tiny_model, with_adapters
from transformers.models.mbart.modeling_mbart import shift_tokens_right as shift_as_mbart
from transformers.trainer_pt_utils import LabelSmoother

from attuner.data.features import Ints, SequencePairs, TokenColumn
from attuner.models.families import family_of
from attuner.tasks.translation import TranslationTask

CPU = torch.device("cpu")
ROWS = np.arange(40)


def fast_loss(model: Any, features: SequencePairs, rows: Ints, **options: Any) -> torch.Tensor:
    task = TranslationTask(model, **options)
    with task.prepared(model):
        return task.loss(model, task.collate(features, rows, CPU))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("wraps", "smoothing"), [(False, 0.1), (True, 0.0)], ids=["bare", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(
    family: str, wraps: bool, smoothing: float
) -> None:
    model, features = tiny_model(family), tiny_features()
    if wraps:
        model = with_adapters(model)
    model.train()  # smoothing applies; there is no dropout
    expected = plain_loss(model, features, ROWS, smoothing)
    expected.backward()
    wanted = gradients(model)
    loss = fast_loss(model, features, ROWS, label_smoothing=smoothing)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_near(gradients(model), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_says_what_is_packed_and_why_the_rest_is_not(family: str) -> None:
    task = TranslationTask(tiny_model(family))

    assert task.is_packed == (family in PACKED)
    title = family_of(FAMILIES[family]["model_type"]).title
    padded = f"padded by token budget ({title} has relative positions)"
    assert task.batches == ("packed, no padding" if family in PACKED else padded)


def test_a_family_that_is_not_known_is_padded() -> None:
    model = tiny_model("bart")
    model.config.model_type = "blenderbot"

    assert TranslationTask(model).batches == (
        "padded by token budget (how blenderbot counts positions is not known)"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_inputs_are_shifted_as_the_family_does(family: str) -> None:
    model, features = tiny_model(family), tiny_features()
    task = TranslationTask(model)
    batch = task.collate(features, ROWS, CPU)
    lengths = np.maximum(features.source.lengths, features.target.lengths)
    plain = plain_batch(features, ROWS[np.argsort(lengths, kind="stable")])
    given: dict[str, Any] = {}
    decoder = model.get_decoder()
    decoder.register_forward_pre_hook(lambda _, __, kw: given.update(kw), with_kwargs=True)
    model(**plain)

    real = plain["labels"] != -100
    ours = batch["decoder_input_ids"]
    if task.is_packed:
        assert torch.equal(ours[0, : real.sum()], given["input_ids"][real])
    else:
        assert torch.equal(ours[real], given["input_ids"][real])
    assert torch.equal(batch["targets"][batch["targets"] != -100], plain["labels"][real])


def test_the_start_of_mbart_s_targets_may_be_the_language() -> None:
    """Its own shift takes targets that end in the language; ours takes them without it."""
    language = 7
    with_language = [[9, 8, EOS, language], [10, EOS, language]]
    labels = torch.tensor([with_language[0], [*with_language[1], PAD]])
    wanted = shift_as_mbart(labels, PAD)
    column = TokenColumn.from_lists([ids[:-1] for ids in with_language])
    features = SequencePairs(column, column, np.arange(2), np.ones(2))
    model = tiny_model("mbart")
    model.config.decoder_start_token_id = language
    found = TranslationTask(model).collate(features, np.arange(2), CPU)["decoder_input_ids"][0]

    assert found[:2].tolist() == wanted[1, :2].tolist() == [language, 10]
    assert found[2:5].tolist() == wanted[0, :3].tolist() == [language, 9, 8]


@pytest.mark.parametrize(
    ("of_config", "of_generation", "start"), [(EOS, 5, EOS), (None, 5, 5), (None, None, PAD)]
)
def test_the_decoder_starts_as_the_checkpoint_says(
    of_config: int | None, of_generation: int | None, start: int
) -> None:
    model, features = tiny_model("mbart"), tiny_features(3)
    model.config.decoder_start_token_id = of_config
    model.generation_config.decoder_start_token_id = of_generation
    ids = TranslationTask(model).collate(features, np.arange(3), CPU)["decoder_input_ids"]

    assert ids[0, 0] == start


@pytest.mark.usefixtures("kernels")
def test_label_smoothing_is_that_of_transformers() -> None:
    model, features = tiny_model(), tiny_features()
    model.train()
    batch = plain_batch(features, ROWS)
    mean = LabelSmoother(epsilon=0.2)(model(**batch), batch["labels"])
    loss = fast_loss(model, features, ROWS, label_smoothing=0.2)

    assert loss.item() == pytest.approx(mean.item() * features.target.lengths.sum(), rel=1e-5)


@pytest.mark.parametrize("family", PACKED)
def test_layers_are_dropped_as_transformers_drops_them(family: str) -> None:
    model, features = tiny_model(family, layerdrop=0.5), tiny_features()
    model.train()
    losses = set()
    for seed in range(6):
        torch.manual_seed(seed)
        plain_loss(model, features, ROWS).backward()
        wanted = gradients(model)
        torch.manual_seed(seed)
        loss = fast_loss(model, features, ROWS)
        loss.backward()
        losses.add(round(loss.item(), 2))
        assert_near(gradients(model), wanted)
    assert len(losses) > 1


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_differs_between_calls_and_repeats_with_the_seed(family: str) -> None:
    model, features = tiny_model(family, dropout=0.3), tiny_features()
    exact = plain_loss(model, features, ROWS).item()
    model.train()

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return fast_loss(model, features, ROWS).item()

    losses = [loss(seed) for seed in range(4)]
    assert loss(0) == losses[0]
    assert len({*losses, exact}) == 5
    assert losses == pytest.approx([exact] * 4, rel=0.3)


def test_positions_of_m2m_100_do_not_count_padding_tokens() -> None:
    """As transformers has it, be they the decoder's start or amid a sequence."""
    column = TokenColumn.from_lists([[5, PAD, PAD, 6, 7, EOS], [8, 9, PAD, 6, 7, EOS]])
    features = SequencePairs(column, column, np.arange(2), np.ones(2))
    model = tiny_model("m2m_100")
    model.config.decoder_start_token_id = PAD
    expected = plain_loss(model, features, np.arange(2))
    loss = fast_loss(model, features, np.arange(2))

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("wraps", [False, True], ids=["bare", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_as_it_was_after_the_block(family: str, wraps: bool) -> None:
    model, features = tiny_model(family), tiny_features()
    if wraps:
        model = with_adapters(model)

    def state() -> list[Any]:
        names = [
            (sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ]
        return [*names, model.config._attn_implementation, sorted(model.state_dict())]

    before, output = state(), plain_loss(model, features, ROWS).item()
    fast_loss(model, features, ROWS)

    assert state() == before
    assert plain_loss(model, features, ROWS).item() == output


def test_an_output_layer_that_an_adapter_wraps_is_refused() -> None:
    model = tiny_model()
    model.lm_head = torch.nn.Sequential(model.lm_head)

    with pytest.raises(TypeError, match=r"^the output layer is a Sequential, not nn\.Linear$"):
        fast_loss(model, tiny_features(), ROWS)
