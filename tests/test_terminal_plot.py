from __future__ import annotations

from attuner.terminal_plot import Curve, plot


def drawn(*curves: Curve, width: int = 24, height: int = 4, is_ascii: bool = False) -> list[str]:
    made = plot(curves, width=width, height=height, is_ascii=is_ascii)
    return ["".join(cell.text for cell in line) for line in made]


def test_a_straight_line_from_corner_to_corner() -> None:
    assert drawn(Curve("up", [(0, 0), (2, 1)])) == [
        "1.00 │          ⢀⡠⠔⠊ up",
        "0.50 │       ⣀⠤⠊⠁   ",
        "     │   ⢀⡠⠒⠉       ",
        "0.00 │⡠⠔⠊⠁          ",
        "     └ 0 ───────── 2",
    ]


def test_ascii_tells_curves_apart_by_letters() -> None:
    lines = drawn(
        Curve("a", [(0, 0), (1, 0)]), Curve("b", [(0, 5), (1, 5)]), width=20, is_ascii=True
    )

    assert lines == [
        "5.0 |xxxxxxxxxxxx b",
        "2.5 |            ",
        "    |            ",
        "0.0 |oooooooooooo a",
        "    + 0 ------- 1",
    ]


def test_names_of_curves_that_end_alike_stand_on_lines_of_their_own() -> None:
    same = [(0.0, 0.0), (1.0, 1.0)]
    lines = drawn(Curve("one", same), Curve("other", same), Curve("third", [(0, 1), (1, 1)]))

    assert [line.split()[-1] for line in lines[:3]] == ["one", "other", "third"]
    assert max(map(len, lines)) <= 24


def test_a_curve_that_is_flat_or_one_point_has_a_frame() -> None:
    assert len(drawn(Curve("", [(1.0, 3.0)]))) == 5
    assert drawn(Curve("", [(0, 3.0), (4, 3.0)]))[0].startswith("4.0 │")


def test_no_line_is_wider_than_asked_for() -> None:
    curve = Curve("name", [(x / 7, (x * 37) % 11) for x in range(50)])
    for width in (40, 80, 100):
        assert max(map(len, drawn(curve, width=width, height=8))) <= width
