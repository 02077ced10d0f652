"""Why plain transformers does a part of a trainer's work; "" where Attuner does it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import nn

_ADAMW = ("adamw_torch", "adamw_torch_fused")


def kind_of_model(model: Any) -> str:
    """`text` for text → text, `label` for a classifier of texts, "" for anything else."""
    if not isinstance(model, transformers.PreTrainedModel):  # such as peft's
        return ""
    if method_of_its_own(model):
        return ""
    if getattr(model.config, "is_encoder_decoder", False):
        has_layer = type(model.get_output_embeddings()) is nn.Linear
        return "text" if has_layer and hasattr(model, "get_decoder") else ""
    return "label" if type(model).__name__.endswith("ForSequenceClassification") else ""


def method_of_its_own(model: Any) -> str:
    """What a subclass of a model computes itself, in words; "" where all is transformers' own."""
    name = next((n for n in ("forward", "generate") if is_overridden(model, n)), "")
    return f"{type(model).__name__} has a {name} of its own" if name else ""


def against_loss(trainer: Any) -> str:
    """Why batches and loss are transformers', in words."""
    return next(_against_loss(trainer), "")


def _against_loss(trainer: Any) -> Iterator[str]:
    model, args = trainer.model, trainer.args
    for name in ("compute_loss", "_prepare_inputs"):
        if is_overridden(trainer, name):
            yield f"{type(trainer).__name__} has a {name} of its own"
    if trainer.compute_loss_func is not None:
        yield "compute_loss_func is given"
    if not kind_of_model(model):
        yield (
            method_of_its_own(model)
            or f"{type(model).__name__} is neither text to text nor a classifier of texts"
        )
    elif getattr(model.config, "problem_type", None) == "regression" and model.num_labels > 1:
        yield "several numbers are learned at once"
    if hasattr(model, "_loss_function"):
        yield f"{type(model).__name__} was given a loss_function"
    if getattr(model, "quantization_method", None) is not None:
        yield "the model is quantized"
    if getattr(args, "activation_checkpointing", False) or getattr(
        args, "gradient_checkpointing", False
    ):
        yield "activations are checkpointed"
    for name in ("torch_compile", "use_liger_kernel", "neftune_noise_alpha", "fsdp", "deepspeed"):
        if getattr(args, name, None):
            yield f"{name} is set"
    if args.n_gpu > 1:
        yield "one process has several GPUs (start one for each: torchrun)"


def against_optimizer(trainer: Any) -> str:
    """Why the optimizer, and with it the number format, are transformers', in words."""
    return next(_against_optimizer(trainer), "")


def _against_optimizer(trainer: Any) -> Iterator[str]:
    args = trainer.args
    if args.device.type != "cpu":
        yield "on an accelerator torch's own is as fast"
    for name in ("create_optimizer", "get_optimizer_cls_and_kwargs", "training_step"):
        if is_overridden(trainer, name):
            yield f"{type(trainer).__name__} has a {name} of its own"
    if trainer.optimizer_cls_and_kwargs is not None:
        yield "optimizer_cls_and_kwargs is given"
    if getattr(args.optim, "value", args.optim) not in _ADAMW:
        yield f"optim is {getattr(args.optim, 'value', args.optim)}"
    if args.optim_args:
        yield "optim_args are given"
    if not hasattr(transformers.Trainer, "_clip_grad_norm"):
        yield "this version of transformers clips gradients elsewhere"
    if any(p.dtype != torch.float32 for p in trainer.model.parameters() if p.requires_grad):
        yield "the weights are not fp32 (from_pretrained takes dtype=torch.float32)"


def against_generation(trainer: Any) -> str:
    """Why transformers generates for scores whatever the model, in words."""
    names = ("batch_eval_metrics", "fsdp", "deepspeed")
    return next((f"{name} is set" for name in names if getattr(trainer.args, name, None)), "")


def is_overridden(owner: Any, name: str) -> bool:
    """Whether a method of a trainer or model is neither transformers' nor ours."""
    method = getattr(type(owner), name, None)
    return method is not None and not method.__module__.startswith(("attuner.", "transformers."))
