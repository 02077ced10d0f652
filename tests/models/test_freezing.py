from __future__ import annotations

import pytest
from tiny import FAMILIES, tiny_model
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from attuner.errors import ModelError
from attuner.models.freezing import freeze


@pytest.mark.parametrize("family", ["marian", "bart", "t5"])
def test_the_encoder_is_frozen_without_the_embeddings_that_the_decoder_shares(family: str) -> None:
    model = tiny_model(family)
    assert freeze(model, ["encoder"]) is False
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    positions = {name for name, p in tiny_model(family).named_parameters() if not p.requires_grad}
    own = {name for name, _ in model.named_parameters() if ".encoder." in f".{name}"}

    assert frozen - positions == own - positions
    assert model.get_input_embeddings().weight.requires_grad


def test_the_output_layer_is_frozen_with_embeddings_that_it_shares() -> None:
    model = tiny_model()
    assert freeze(model, ["embeddings"]) is True
    assert not model.lm_head.weight.requires_grad
    assert model.model.encoder.layers[0].fc1.weight.requires_grad


def test_an_output_layer_of_its_own_is_trained() -> None:
    config = AutoConfig.for_model(**FAMILIES["bart"], tie_word_embeddings=False)
    model = AutoModelForSeq2SeqLM.from_config(config)
    assert freeze(model, ["embeddings", "encoder", "decoder"]) is False
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["lm_head.weight"]


def test_something_has_to_learn() -> None:
    with pytest.raises(ModelError) as caught:
        freeze(tiny_model(), ["embeddings", "encoder", "decoder"])

    assert str(caught.value) == (
        "model.freeze=embeddings, encoder, decoder: nothing of this model is left to train.\n"
        "Its output layer shares the weights of the embeddings.\n"
        "Leave one of them out of model.freeze."
    )
