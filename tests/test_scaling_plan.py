"""The plan on paper for NLLB-3.3B: its page says what the formulas give, of the model as it is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from attuner.models.objective import _MAX_LOGITS
from attuner.ready_recipes import ready_recipe
from attuner.recipe_loading import load_recipe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explanation" / "scaling.md").read_text(encoding="utf-8")


def _load() -> Any:
    spec = importlib.util.spec_from_file_location(
        "scaling_plan", ROOT / "benchmarks" / "scaling_plan.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling_plan"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


plan = _load()


@pytest.mark.parametrize("make", plan.TABLES, ids=lambda make: make.__name__)
def test_the_page_has_the_tables_of_the_formulas(make: Any) -> None:
    assert make() in PAGE


@pytest.mark.parametrize(
    "text",
    [
        f"{16 * plan.NLLB.parameters / 1e9:.1f} GB for the shares alone",
        f"{plan.flops_per_token(plan.NLLB, recomputes=True) / 1e9:.1f} GFLOP",
        f"{6 * plan.NLLB.embeddings / 1e9:.1f} GB; the activations are gone",
        f"{4 * plan.NLLB.parameters / 1e9:.1f} GB of the machine's memory",
        f"takes {12 * plan.NLLB.parameters / 1e9:.0f} GB",
    ],
)
def test_the_text_says_what_the_formulas_give(text: str) -> None:
    assert text in PAGE.replace("\n", " ").replace("  ", " ")


def test_the_weights_are_those_of_transformers() -> None:
    shape = plan.NLLB
    config = AutoConfig.for_model(
        "m2m_100", vocab_size=shape.vocabulary, d_model=shape.width,
        encoder_layers=shape.layers, decoder_layers=shape.layers,
        encoder_ffn_dim=shape.feed_forward, decoder_ffn_dim=shape.feed_forward,
        encoder_attention_heads=16, decoder_attention_heads=16, max_position_embeddings=8,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForSeq2SeqLM.from_config(config)

    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters
    layers = model.model.encoder.layers[0], model.model.decoder.layers[0]
    sizes = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
    assert sizes == [shape.encoder_layer, shape.decoder_layer]


def test_the_plan_is_that_of_recipe_and_loss() -> None:
    training = load_recipe(ready_recipe("nllb-3.3b"), ["data=d.csv"]).training
    for planned in plan.PLANS.values():
        assert planned.recomputes == training.gradient_checkpointing
    assert training.batch_tokens == plan.PLANS["8 GPUs"].gpus * plan.PLANS["8 GPUs"].tokens
    assert training.accumulation == 1
    assert plan.LOGITS_BYTES == 12 * _MAX_LOGITS


def test_a_gpu_holds_less_the_more_share_the_model() -> None:
    memory = [plan.memory_bytes(plan.NLLB, plan.Plan(4, shares)) for shares in (1, 8, 32)]
    assert memory == sorted(memory, reverse=True)
    assert memory[0] > 54e9
    assert plan.machine_bytes(plan.NLLB, plan.Plan(1, 8)) == 0
