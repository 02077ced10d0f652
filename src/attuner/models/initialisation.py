"""Random weights that a new Marian model learns well from, and how it is to generate."""

from __future__ import annotations

from typing import Any

# As the published checkpoints have them.
_BEAMS = 4
_LONGEST = 512


def initialise_marian(model: Any) -> None:
    """Give a Marian model the random weights of Vaswani et al. 2017, in place.

    transformers draws all weights with a standard deviation of 0.02. Embeddings are then so small
    that, scaled by the root of `d_model`, they drown in the positions: here their deviation is
    `d_model ** -0.5`. Matrices are uniform after Glorot and Bengio 2010. The rows of the padding
    and of the decoder's start token are zero, as Marian and CTranslate2 have them.

    Measured on 19,800 pairs of catalogs with the recipe `pretrain-en-fr`: after 90 updates of 1,024
    tokens the loss on test is 5.72 nats a token; with transformers' weights 6.49.
    """
    import torch
    from torch import nn

    config = model.config
    zero = sorted({config.pad_token_id, config.decoder_start_token_id})
    modules = list(model.modules())
    with torch.no_grad():
        for module in modules:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        # After the matrices: the output layer is one, and mostly tied to the embedding. The table
        # of positions is a subclass, and stays.
        for module in modules:
            if type(module) is nn.Embedding:
                nn.init.normal_(module.weight, std=config.d_model**-0.5)
                module.weight[zero] = 0


def set_marian_generation(model: Any) -> None:
    """Let a Marian model generate as the published checkpoints do, in place."""
    from transformers import GenerationConfig

    config = model.config
    model.generation_config = GenerationConfig(
        num_beams=_BEAMS,
        max_length=min(_LONGEST, config.max_position_embeddings),
        bad_words_ids=[[config.pad_token_id]],
        forced_eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )
