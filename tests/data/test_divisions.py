"""Filters, divisions, subsets and weights are what they were when examples were Python lists.

The digests were computed by that code. A run that began before must find the examples that it
began with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pytest

from attuner.data.labelled import LabelledExample
from attuner.data.labelled_preparation import prepare_labelled
from attuner.data.preparation import prepare
from attuner.data.units import Address, Unit

TEXTS = {
    ("source", ""): "c1569c432a392e63",
    ("source", "validation"): "80bf7f42cf6a73c5",
    ("source", "temperature-train_subset"): "fea54e0427de0121",
    ("source", "mix-mix_share"): "70aa2e86e41dfa4d",
    ("catalog", ""): "d7e14366e1b3ab07",
    ("catalog", "validation"): "c154a15d3a456828",
    ("catalog", "temperature-train_subset"): "4b231b874b31d21f",
    ("catalog", "mix-mix_share"): "c4330999f53978f1",
    ("file", ""): "0dc07f6b217d2d43",
    ("file", "validation"): "5803f56e29b67da2",
    ("file", "temperature-train_subset"): "ae0dfda2588605ae",
    ("file", "mix-mix_share"): "b856f8d894344a3c",
    ("random", ""): "3392df490099e075",
    ("random", "validation"): "456aac2097ef52ae",
    ("random", "temperature-train_subset"): "0b9ab699e805b488",
    ("random", "mix-mix_share"): "5dbb1e6673b2222a",
}
LABELLED = {
    ("source", ""): "b9b3875705117cbd",
    ("source", "validation"): "ae3d2eaf12a5267c",
    ("catalog", ""): "d2db48162e8d25be",
    ("catalog", "validation"): "86b1c5745de6e85b",
    ("file", ""): "58c87a9e496c434d",
    ("file", "validation"): "4db9d39de6da841b",
    ("random", ""): "9289a3b3de97da5b",
    ("random", "validation"): "2286b258003a843c",
}


def address(number: int, suffix: str) -> Address:
    return Address(f"dir/{number % 17}.{suffix}", str(number), number, catalog=f"c{number % 23}")


def units(num: int, start: int = 0) -> list[Unit]:
    return [
        Unit(
            address(n, "po"),
            f"{'&' if n % 5 == 0 else ''}Text {n % 701 + start}{'.' if n % 3 else ''}",
            (f"texte {n % 907}",),
            "fuzzy" if n % 31 == 0 else "translated",
            "en",
            "fr" if n % 4 else "de",
            1.0 + n % 2,
        )
        for n in range(num)
    ]


def labelled(num: int, start: int = 0) -> list[LabelledExample]:
    return [
        LabelledExample(f"Text {n % 701 + start}", None, "abc"[n * n % 7 % 3], address(n, "csv"))
        for n in range(num)
    ]


def digest(parts: Iterable[Iterable[tuple[Any, ...]]], prepared: Any) -> str:
    skipped = sorted(prepared.counts["skipped"].items())
    text = f"{[list(part) for part in parts]!r}{skipped!r}{prepared.notes!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("by", "what"), TEXTS)
def test_of_texts(by: str, what: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "": {},
        "validation": {"validation": units(40, 650)},
        "temperature-train_subset": {"temperature": 3.0, "train_subset": (500, 4)},
        "mix-mix_share": {"mix": units(300, 600), "mix_share": 0.3},
    }
    made = prepare(units(2000), by=by, **options[what])
    parts = (
        ((e.source, e.references, e.target_language, e.address.unit, round(e.weight, 12))
         for e in part)
        for part in (made.train, made.validation, made.test)
    )  # fmt: skip
    assert digest(parts, made) == TEXTS[by, what]


@pytest.mark.parametrize(("by", "what"), LABELLED)
def test_of_labelled_texts(by: str, what: str) -> None:
    given = labelled(40, 650) if what else None
    made = prepare_labelled(labelled(2000), given, by=by)
    parts = (
        ((e.text, e.label, e.address.unit) for e in part)
        for part in (made.train, made.validation, made.test)
    )
    assert digest(parts, made) == LABELLED[by, what]
