"""Adapters: few weights in a frozen model, trained instead of its own; made by peft.

Their layers are put into the model itself, with no wrapper around it: hooks, packing, checkpoints
and generation find the bare model as ever. peft is imported where an adapter is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from attuner.errors import ModelError
from attuner.models.families import family_of

# The layers that (IA)^3 rescales: keys, values, and what goes into the second feed-forward layer
# (Liu et al. 2022, section 3.3).
_IA3_FEED_FORWARD = ("fc2", "wo")
_IA3_TARGETS = ("k_proj", "v_proj", "k", "v", *_IA3_FEED_FORWARD)


def add_adapter(
    model: nn.Module,
    *,
    kind: str = "lora",
    rank: int = 16,
    alpha: float = 32.0,
    dropout: float = 0.0,
    rslora: bool = False,
    targets: Sequence[str] | None = None,
    whole: Callable[[str], bool] = lambda name: False,
    seed: int = 0,
) -> tuple[str, ...]:
    """Put an adapter into a model, and freeze all else; the model computes the same at first.

    Args:
        model: A model of transformers, of any task.
        kind: `lora` (Hu et al. 2021), `dora` (Liu et al. 2024) or `ia3` (Liu et al. 2022).
        rank: Rank of the change of a weight; not for `ia3`, nor are the next three.
        alpha: The change is scaled by alpha / rank.
        dropout: Share of a layer's input that is dropped on the adapter's way.
        rslora: Scale by alpha / √rank instead (Kalajdzievski 2023).
        targets: Names of linear layers, or the ends of their paths; the family's where None.
        whole: Says by its name which module or weight is trained itself, such as a new head.
        seed: Seed of the adapter's random weights.

    Returns:
        The names of the layers that it is on.

    Raises:
        ModelError: There is no such linear layer, or it is the output layer.
    """
    import peft

    kept = [path for path, m in model.named_modules() if isinstance(m, nn.Linear) and whole(path)]
    itself = [parameter for name, parameter in model.named_parameters() if whole(name)]
    names = _targets(model, kind, targets, kept)
    if kind == "ia3":
        scaled = [name for name in names if name.rsplit(".", 1)[-1] in _IA3_FEED_FORWARD]
        config: Any = peft.IA3Config(
            target_modules=list(names), feedforward_modules=scaled, exclude_modules=kept or None
        )
    else:
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(names),
            exclude_modules=kept or None,
            use_dora=kind == "dora",
            use_rslora=rslora,
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model)
    for parameter in itself:
        parameter.requires_grad_(True)
    return names


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Let the weights of an adapted model be those that it computes with.

    Afterwards they are the very tensors that they were. A model without adapter stays as it is.
    """
    layers = [layer for _, layer in _adapted(model) if not layer.merged]
    weights = {p: p.data for layer in layers for p in layer.get_base_layer().parameters()}
    try:
        _merge(layers)
        yield
    finally:
        for parameter, weight in weights.items():
            parameter.data = weight
        for layer in layers:
            layer.merged_adapters.clear()


def merge_for_good(model: nn.Module) -> None:
    """Make an adapted model a plain one that computes the same; any other stays as it is."""
    layers = _adapted(model)
    if not layers:
        return
    _merge([layer for _, layer in layers])
    for path, layer in layers:
        whole = layer.get_base_layer()
        model.set_submodule(path, whole)
        for parameter in whole.parameters():  # merging goes unseen: copies in bf16 are made anew
            torch.autograd.graph.increment_version(parameter)
    del model.peft_config


def _merge(layers: Sequence[Any]) -> None:
    with torch.no_grad():
        for layer in layers:
            layer.merge(safe_merge=True)  # into a copy, so that the weight itself is kept


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    """The layers that an adapter is on, with their paths."""
    if "peft" not in sys.modules:  # importing it takes seconds
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]


def _targets(
    model: nn.Module, kind: str, asked: Sequence[str] | None, kept: Sequence[str]
) -> tuple[str, ...]:
    """The names of the layers to adapt, as peft takes them; none of those kept."""
    family = family_of(str(model.config.model_type))  # type: ignore[union-attr]
    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    linear = [path for path, m in model.named_modules() if isinstance(m, nn.Linear)]
    last = [path for path in linear if model.get_submodule(path) is output or path in kept]
    usable = [path for path in linear if path not in last]
    known = tuple(dict.fromkeys(path.rsplit(".", 1)[-1] for path in usable))
    if asked is None:
        found = tuple(name for name in family.adapter_targets if name in known) or known
        if kind == "ia3":
            found = tuple(name for name in found if name in _IA3_TARGETS)
        if found:
            return found
        asked = _IA3_TARGETS
    wrong = [name for name in asked if not _on(name, usable) or _on(name, last)]
    if wrong:
        raise ModelError(
            f"An adapter cannot be put on {', '.join(wrong)} of this {family.title} model.",
            f"Expected linear layers other than the output layer: {', '.join(known)}.",
            "Name some of these in model.adapter.targets, or leave it out.",
        )
    return tuple(asked)


def _on(name: str, paths: Sequence[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in paths)
