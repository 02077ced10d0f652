"""Which number format the matrix products use on this device."""

from __future__ import annotations

import torch

from attuner.models.families import family_of


def resolve_precision(asked: str, device: torch.device, model_type: str = "") -> tuple[str, str]:
    """The format to use, and a line that says why where it is not the one asked for.

    Args:
        asked: `auto`, `fp32`, `bf16` or `fp16`.
        device: Where the model computes.
        model_type: The model's family, of which some overflow in fp16.

    Returns:
        `fp32`, `bf16` or `fp16`, and a note, or "".
    """
    if device.type == "cpu":
        fast = has_fast_bf16()
        if asked == "fp16":
            instead = "bf16" if fast else "fp32"
            return instead, f"fp16 is for accelerators; on this processor {instead} is used."
        if asked == "bf16" and not fast:
            return "fp32", "This processor has no bf16 instructions; fp32 is used."
        return ("bf16" if fast else "fp32") if asked == "auto" else asked, ""
    # torch would also count GPUs that only emulate bf16, slowly.
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    family = family_of(model_type)
    if has_bf16:
        if asked == "fp16" and not family.takes_fp16:
            return "bf16", f"{family.title} overflows in fp16; bf16 is used."
        return "bf16" if asked == "auto" else asked, ""
    if asked != "fp32" and not family.takes_fp16:
        return "fp32", f"This GPU has no bf16, and {family.title} overflows in fp16; fp32 is used."
    if asked == "bf16":
        return "fp16", "This GPU has no bf16; fp16 is used."
    return "fp16" if asked == "auto" else asked, ""


def has_fast_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware (AVX-512 bf16 or AMX).

    >>> computes_in = torch.bfloat16 if has_fast_bf16() else None  # of `build_optimizer`
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in checks)
