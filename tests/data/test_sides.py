from __future__ import annotations

import pytest

from attuner.data.sides import Sides

THINGS = {
    "file": "le fichier", "window": "la fenêtre", "kernel": "le noyau", "folder": "le dossier",
    "tab": "l'onglet", "image": "l'image", "table": "le tableau", "message": "le message",
}  # fmt: skip
PAIRS = {
    f"{verb} the {thing}": f"{verbe} {chose}"
    for verb, verbe in (("Open", "Ouvrir"), ("Close", "Fermer"), ("Save", "Enregistrer"))
    for thing, chose in THINGS.items()
}
JAPANESE = {
    "Open": "開く", "Close": "閉じる", "Save": "保存", "Cancel": "キャンセル", "Delete": "削除",
    "Edit": "編集する", "Search": "検索する", "Show": "表示する", "Hide": "隠す", "Copy": "コピー",
    "Save all": "すべて保存する", "Close all": "すべて閉じる",
}  # fmt: skip


def sides(pairs: dict[str, str]) -> Sides:
    return Sides(list(pairs), list(pairs.values()))


def test_texts_that_were_not_seen_are_told_apart() -> None:
    known = sides(PAIRS)
    assert known.are_distinct
    assert known.side_of("The others") == "source"
    assert known.side_of("Fermez les onglets") == "target"
    assert known.side_of("%1 (42)") is None
    assert known.side_of("") is None


def test_a_script_tells_sides_apart() -> None:
    assert sides(JAPANESE).side_of("全部") is None  # too short to be sure
    assert sides(JAPANESE).side_of("保存する") == "target"


@pytest.mark.parametrize(
    "pairs",
    [
        {f"the {thing} is open": f"an open {thing} is the {thing}" for thing in THINGS},
        dict(zip(PAIRS, reversed(PAIRS), strict=True)),
        {text: text for text in PAIRS},
        {f"{n}": f"{n}." for n in range(50)},
        dict(list(PAIRS.items())[:4]),
    ],
    ids=["another style", "the same language", "copies", "no letters", "few"],
)
def test_sides_that_cannot_be_told_apart(pairs: dict[str, str]) -> None:
    assert not sides(pairs).are_distinct


def test_another_script_is_foreign() -> None:
    known = sides(PAIRS)
    assert known.is_foreign("Открыть файл")
    assert not known.is_foreign("Öffne die Datei")
    assert not known.is_foreign("123")
