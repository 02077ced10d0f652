from __future__ import annotations

import pytest
import torch

from attuner.models.precision import resolve_precision

_NEITHER = "This GPU has no bf16, and mT5 overflows in fp16; fp32 is used."
_NO_FP16 = "fp16 is for accelerators; on this processor {} is used."


@pytest.mark.parametrize(
    ("asked", "is_fast", "format_used", "note"),
    [
        ("auto", True, "bf16", ""),
        ("auto", False, "fp32", ""),
        ("fp32", True, "fp32", ""),
        ("fp32", False, "fp32", ""),
        ("bf16", True, "bf16", ""),
        ("bf16", False, "fp32", "This processor has no bf16 instructions; fp32 is used."),
        ("fp16", True, "bf16", _NO_FP16.format("bf16")),
        ("fp16", False, "fp32", _NO_FP16.format("fp32")),
    ],
)
def test_on_a_processor(
    asked: str, is_fast: bool, format_used: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: is_fast)

    assert resolve_precision(asked, torch.device("cpu")) == (format_used, note)


@pytest.mark.parametrize(
    ("asked", "has_bf16", "format_used", "note"),
    [
        ("auto", True, "bf16", ""),
        ("auto", False, "fp16", ""),
        ("fp32", True, "fp32", ""),
        ("bf16", True, "bf16", ""),
        ("bf16", False, "fp16", "This GPU has no bf16; fp16 is used."),
        ("fp16", True, "fp16", ""),
        ("fp16", False, "fp16", ""),
    ],
)
def test_on_a_gpu(
    asked: str, has_bf16: bool, format_used: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _give_bf16(monkeypatch, has_bf16)

    assert resolve_precision(asked, torch.device("cuda"), "marian") == (format_used, note)


@pytest.mark.parametrize(
    ("asked", "has_bf16", "format_used", "note"),
    [
        ("auto", True, "bf16", ""),
        ("auto", False, "fp32", _NEITHER),
        ("fp32", True, "fp32", ""),
        ("fp32", False, "fp32", ""),
        ("bf16", True, "bf16", ""),
        ("bf16", False, "fp32", _NEITHER),
        ("fp16", True, "bf16", "mT5 overflows in fp16; bf16 is used."),
        ("fp16", False, "fp32", _NEITHER),
    ],
)
def test_families_that_overflow_never_get_fp16(
    asked: str, has_bf16: bool, format_used: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _give_bf16(monkeypatch, has_bf16)

    assert resolve_precision(asked, torch.device("cuda"), "mt5") == (format_used, note)


def _give_bf16(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    """A GPU that has bf16, or one that only emulates it."""

    def is_supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
