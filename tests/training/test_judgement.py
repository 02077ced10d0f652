from __future__ import annotations

import math

import pytest

from attuner.data.sides import Sides
from attuner.models.soundness import Finding
from attuner.training.judgement import (
    Output,
    language_findings,
    loss_findings,
    output_findings,
    softened,
)

FRENCH = [f"{verb} le {noun}" for verb in ("Ouvrir", "Fermer") for noun in ("noyau", "fichier")]
ENGLISH = [f"{verb} the {noun}" for verb in ("Open", "Close") for noun in ("kernel", "file")]
RAW = (
    " A raw pretrained model, such as T5 or mBART as published, has not learned the task yet: then "
    "go on."
)


def outputs(texts: list[str], *, has_ended: bool = True) -> list[Output]:
    return [
        Output(source, reference, text, tuple(map(hash, text.split())), has_ended)
        for source, reference, text in zip(ENGLISH, FRENCH, texts, strict=False)
    ]


def test_a_loss_well_below_a_guess_is_sound() -> None:
    assert loss_findings(6.0, 32, 60_000, only_translates=True) == []


@pytest.mark.parametrize(
    ("loss", "only_translates", "is_certain"),
    [(11.1, True, True), (10.9, True, False), (11.1, False, False), (8.3, False, False)],
)
def test_a_loss_near_or_above_a_guess(loss: float, only_translates: bool, is_certain: bool) -> None:
    (found,) = loss_findings(loss, 32, 60_000, only_translates=only_translates)

    assert str(found) == (
        f"The loss on 32 training pairs is {loss:.2f} nats a token; guessing blindly among 60,000 "
        "tokens gives 11.00.\n"
        "Expected less than 8.25, also on texts that are new to the model.\n"
        "Check that the tokenizer belongs to the checkpoint, and that the checkpoint knows the "
        "languages of the task." + ("" if only_translates else RAW)
    )
    assert found.is_certain is is_certain


@pytest.mark.parametrize("only_translates", [True, False])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number(loss: float, only_translates: bool) -> None:
    assert loss_findings(loss, 1, 100, only_translates=only_translates) == [
        Finding(
            f"The loss on 1 training pair is {loss}.",
            "Expected a finite number.",
            "Download or save the checkpoint again.",
        )
    ]


@pytest.mark.parametrize(
    ("texts", "has_ended", "what", "shown"),
    [
        (["", " ", "", "Fermer le fichier"], True, "3 are empty", 0),
        ([f"{n} " + "le " * 12 for n in range(4)], True, "4 repeat themselves", 0),
        (["Ouvrir"] * 4, True, "all 4 are the same", 0),
        (["un", "deux", "trois", "quatre"], False, "4 do not end", 0),
        ([*FRENCH[:1], "", "le " * 9, ""], True, "2 are empty, 1 repeat themselves", 1),
    ],
)
@pytest.mark.parametrize("only_translates", [True, False])
def test_degenerate_translations(
    texts: list[str], has_ended: bool, what: str, shown: int, only_translates: bool
) -> None:
    made = outputs(texts, has_ended=has_ended)
    (found,) = output_findings(made, only_translates=only_translates)

    assert str(found) == (
        f"Of the model's greedy outputs for 4 training sources {what}, such as "
        f'"{texts[shown]}" for "{ENGLISH[shown]}".\n'
        "Expected outputs that differ, end, and do not go in circles.\n"
        "Check that the checkpoint is whole, that the tokenizer belongs to it, and that it knows "
        "the languages of the task." + ("" if only_translates else RAW)
    )
    assert found.is_certain is only_translates


def test_half_of_the_translations_degenerate_is_a_suspicion() -> None:
    (found,) = output_findings(outputs(["", "", *FRENCH[2:]]), only_translates=True)
    assert not found.is_certain
    assert output_findings(outputs(["", *FRENCH[1:]]), only_translates=True) == []
    assert output_findings(outputs(["", ""]), only_translates=True) == []  # too few to judge


def test_control_characters_do_not_reach_the_terminal() -> None:
    (found,) = output_findings(outputs(["\x1b[31m" + "a " * 70] * 4), only_translates=True)
    assert f'"{" [31m" + "a " * 26}..." for' in found.happened


def test_right_translations_make_a_high_loss_a_suspicion() -> None:
    found = loss_findings(12.0, 4, 60_000, only_translates=True)
    assert not softened(found, outputs(FRENCH))[0].is_certain
    assert softened(found, outputs(FRENCH[::-1]))[0].is_certain  # French, but of other sources
    assert softened(found, outputs([""] * 4))[0].is_certain
    assert not softened(found, outputs([""] * 2))[0].is_certain  # too few to tell


@pytest.mark.parametrize(
    ("texts", "num_wrong", "look", "is_certain"),
    [
        (ENGLISH, 4, "look like en", True),
        ([*ENGLISH[:2], *FRENCH[2:]], 2, "look like en", False),
        (["Открыть ядро", "Открыть файл", "Закрыть ядро", "Закрыть"], 4, "are in another script",
         True),
    ],
)  # fmt: skip
def test_translations_in_the_wrong_language(
    texts: list[str], num_wrong: int, look: str, is_certain: bool
) -> None:
    made, sides = outputs(texts), Sides(ENGLISH * 3, FRENCH * 3)
    (found,) = language_findings(made, sides, ("en", "fr"), "Because.", only_translates=True)

    assert str(found) == (
        f"Of the model's greedy outputs for 4 training sources {num_wrong} {look} rather than "
        f'fr, such as "{texts[0]}" for "{ENGLISH[0]}".\n'
        "Expected fr, as the targets of the data are.\n"
        "Because."
    )
    assert found.is_certain is is_certain
    (raw,) = language_findings(made, sides, ("en", "fr"), "Because.", only_translates=False)
    assert (raw.remedy, raw.is_certain) == (f"Because.{RAW}", False)


def test_translations_in_the_right_language() -> None:
    sides = Sides(ENGLISH * 3, FRENCH * 3)
    few, right = outputs(ENGLISH[:2]), outputs([*FRENCH[:3], ENGLISH[3]])
    for made in (few, right):
        assert language_findings(made, sides, ("en", "fr"), "", only_translates=True) == []
