"""Arguments as older versions of transformers spelled them, and what they are called today."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger("attuner.compat")

# Old name → today's, the value as it is.
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
    "warmup_ratio": "warmup_steps",
}
# Old switch → what it says today where it is on; off, it is today's default.
SWITCHES: dict[str, dict[str, Any]] = {
    "adafactor": {"optim": "adafactor"},
    "evaluate_during_training": {"eval_strategy": "steps"},
    "group_by_length": {"train_sampling_strategy": "group_by_length"},
    "include_inputs_for_metrics": {"include_for_metrics": ["inputs"]},
}
# What has no effect any more, and why.
GONE = {
    "dispatch_batches": "accelerator_config has it today",
    "fp16_backend": "torch's autocast is the only one",
    "fp16_opt_level": "apex is not used any more",
    "half_precision_backend": "torch's autocast is the only one",
    "include_tokens_per_second": "include_num_input_tokens_seen has it today",
    "jit_mode_eval": "there is none any more",
    "overwrite_output_dir": "nothing in output_dir is in the way",
    "past_index": "there is none any more",
    "push_to_hub_organization": "hub_model_id takes organization/name",
    "save_safetensors": "weights are always saved so",
    "sharded_ddp": "fsdp has it today",
    "split_batches": "accelerator_config has it today",
    "tpu_metrics_debug": "debug has it today",
    "tpu_num_cores": "accelerate launch has it today",
    "use_ipex": "torch has what it added",
    "use_mps_device": "it is used where there is one",
    "xpu_backend": "ddp_backend has it today",
}
# Old name of an optimizer → today's.
_OPTIMIZERS = {"adamw_hf": "adamw_torch", "adamw_apex_fused": "adamw_torch_fused"}


def todays(given: Mapping[str, Any], say: Callable[[str], None] = logger.warning) -> dict[str, Any]:
    """Training arguments in today's spelling.

    Args:
        given: Arguments, old and new ones.
        say: Is told a line for each that was spelled otherwise.

    >>> todays({"evaluation_strategy": "epoch", "learning_rate": 2e-5}, say=print)
    evaluation_strategy is called eval_strategy today.
    {'learning_rate': 2e-05, 'eval_strategy': 'epoch'}
    >>> todays({"group_by_length": True, "save_safetensors": True}, say=print)
    group_by_length=True is spelled train_sampling_strategy='group_by_length' today.
    save_safetensors has no effect any more: weights are always saved so.
    {'train_sampling_strategy': 'group_by_length'}
    """
    found: dict[str, Any] = {}
    old: dict[str, Any] = {}
    for name, value in given.items():
        if name in RENAMED:
            say(f"{name} is called {RENAMED[name]} today.")
            old[RENAMED[name]] = value
        elif name in SWITCHES:
            if not value:
                continue  # as it is today where nothing is said
            spelled = ", ".join(f"{today}={said!r}" for today, said in SWITCHES[name].items())
            say(f"{name}=True is spelled {spelled} today.")
            old |= SWITCHES[name]
        elif name in GONE:
            say(f"{name} has no effect any more: {GONE[name]}.")
        elif name == "logging_dir":
            say("logging_dir is the environment variable TENSORBOARD_LOGGING_DIR today.")
            os.environ["TENSORBOARD_LOGGING_DIR"] = str(value)
        elif name == "optim" and value in _OPTIMIZERS:
            say(f"optim={value!r} is spelled optim={_OPTIMIZERS[value]!r} today.")
            found[name] = _OPTIMIZERS[value]
        else:
            found[name] = value
    for name, value in old.items():
        # What is given under today's name counts; but warmup_steps=0 left the ratio to count.
        if name not in found or (name == "warmup_steps" and not found[name]):
            found[name] = value
    return found
