"""Adapters in a model and on the disk: what they are put on, merging, saving, finding the base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_model

from attuner.errors import ModelError
from attuner.inference.translator import load
from attuner.models.adapter_folder import base_folder, save_adapter
from attuner.models.adapters import add_adapter, merge_for_good, merged
from attuner.models.loading import load_seq2seq

SOURCE = torch.tensor([[5, 9, 12, 7, 0], [8, 4, 30, 2, 0]])
TARGET = torch.tensor([[3, 11, 6], [3, 40, 21]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    return found


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def shake(model: Any) -> None:
    """As if it had learned."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("family", ["marian", "bart", "t5"])
def test_merged_weights_compute_what_the_adapter_does(family: str, kind: str) -> None:
    plain, model = tiny_model(family), tiny_model(family)
    names = add_adapter(model, kind=kind, rank=4, seed=3)

    torch.testing.assert_close(logits(model), logits(plain), rtol=1e-6, atol=1e-6)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name or "ia3_" in name for name in trained)
    shake(model)
    adapted, before = logits(model), weights(model)
    assert (adapted - logits(plain)).abs().max() > 1e-4
    with merged(model):
        torch.testing.assert_close(logits(model), adapted, rtol=1e-5, atol=2e-5)
        assert any(not torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    merge_for_good(model)
    torch.testing.assert_close(logits(model), adapted, rtol=1e-5, atol=2e-5)
    assert model.state_dict().keys() == plain.state_dict().keys()
    changed = [
        n for n, t in plain.state_dict().items() if not torch.equal(t, model.state_dict()[n])
    ]
    assert {path.split(".")[-2] for path in changed} == set(names)


def test_the_seed_makes_the_adapter() -> None:
    models = [tiny_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        add_adapter(model, seed=seed)
    one, same, other = (weights(model) for model in models)
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_an_unknown_family_is_adapted_on_all_linear_layers_but_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("attuner.models.families.FAMILIES", {})
    assert add_adapter(tiny_model("t5")) == ("q", "k", "v", "o", "wi", "wo")


@pytest.mark.parametrize("target", ["lm_head", "query", "shared"])
def test_a_layer_that_takes_no_adapter_is_refused(target: str) -> None:
    with pytest.raises(ModelError) as caught:
        add_adapter(tiny_model(), targets=["q_proj", target])

    assert str(caught.value) == (
        f"An adapter cannot be put on {target} of this Marian model.\n"
        "Expected linear layers other than the output layer: k_proj, v_proj, q_proj, out_proj, "
        "fc1, fc2.\n"
        "Name some of these in model.adapter.targets, or leave it out."
    )


@pytest.fixture
def base(marian: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(marian, tmp_path / "base"))


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """The folder of an adapter of the tiny model, and beside it `adapted.pt`: what it computes."""
    model = load_seq2seq(base)
    add_adapter(model, rank=4)
    shake(model)
    torch.save(logits(model), tmp_path / "adapted.pt")
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_adapter(model, base, folder, base=str(base), base_revision=None, base_folder=base)
    return folder


def test_a_saved_adapter_is_loaded_with_its_base(adapter: Path, base: Path, tmp_path: Path) -> None:
    adapted = torch.load(tmp_path / "adapted.pt")
    model = load_seq2seq(adapter)

    torch.testing.assert_close(logits(model), adapted, rtol=1e-5, atol=1e-5)
    assert model.state_dict().keys() == load_seq2seq(base).state_dict().keys()
    assert base_folder(adapter) == base
    assert (adapter / "adapter_model.safetensors").stat().st_size < 60_000
    assert load(adapter, engine="transformers").translate("Open the file") == load(
        adapter
    ).translate("Open the file")


def test_peft_and_transformers_read_it(adapter: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForSeq2SeqLM
    from transformers import AutoModelForSeq2SeqLM

    adapted = torch.load(tmp_path / "adapted.pt")
    for kind in (AutoPeftModelForSeq2SeqLM, AutoModelForSeq2SeqLM):
        model = kind.from_pretrained(adapter).eval()
        torch.testing.assert_close(logits(model), adapted, rtol=1e-5, atol=1e-5)


def test_a_missing_base_is_named(adapter: Path, base: Path) -> None:
    shutil.rmtree(base)
    with pytest.raises(ModelError) as caught:
        load(adapter)

    assert str(caught.value) == (
        f"{adapter} is an adapter of {base}, which cannot be used: {base}: no such folder.\n"
        "An adapter holds no weights but its own: it needs the model that it was trained on.\n"
        f"Put it back, or name its place in base_model_name_or_path of "
        f"{adapter}/adapter_config.json."
    )


def test_a_base_with_other_weights_is_refused(
    adapter: Path, base: Path, moved_marian: Path
) -> None:
    load(adapter)  # so that an engine is in the cache
    shutil.copy(moved_marian / "model.safetensors", base)
    with pytest.raises(ModelError) as caught:
        load(adapter)

    assert str(caught.value) == (
        f"{adapter} is an adapter of {base}, whose weights are no longer those of then.\n"
        "An adapter works with the very weights that it was trained on; their SHA-256 is in "
        f"{adapter}/base_model.json.\n"
        "Put the model of then back, or tune anew."
    )


def test_a_damaged_adapter_is_refused(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError) as caught:
        load_seq2seq(adapter)
    assert caught.value.happened.startswith(f"{adapter}: the adapter cannot be put on its base: ")


def test_an_adapter_of_another_shape_is_refused(adapter: Path, base: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with pytest.raises(ModelError, match="the adapter cannot be put on its base"):
        load_seq2seq(adapter)
