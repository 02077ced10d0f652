from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.data.segments import paired_lines, segment

texts = st.text(alphabet=st.sampled_from(list("aé %\n\r\t\u00a0\u2028\x0b")), max_size=40)


@given(texts | st.text(max_size=40))
def test_the_pieces_of_a_text_give_it_back(text: str) -> None:
    pieces = segment(text)

    assert pieces.join(pieces.lines) == text
    for line in pieces.lines:
        assert line
        assert line == line.strip()
        assert "\n" not in line
        assert "\r" not in line


def test_edge_white_space_goes_around_the_translation() -> None:
    assert segment("\n  Open\r\n\tClose \n").join(["Ouvrir", "Fermer"]) == (
        "\n  Ouvrir\r\n\tFermer \n"
    )


def test_a_translation_with_another_number_of_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="1 lines for 2 places"):
        segment("a\nb").join(["c"])


def test_lines_are_paired_only_where_both_sides_have_as_many() -> None:
    assert list(paired_lines("a\n\nb", "c\nd")) == [("a", "c"), ("b", "d")]
    assert list(paired_lines("a\nb", "c d")) == []
    assert list(paired_lines("  ", "")) == []
    assert list(paired_lines("", "c")) == list(paired_lines("a", " ")) == []


def test_a_single_line_is_paired_as_segment_cuts_it() -> None:
    for text in (" a ", "\u2028a\x0bb\x85", "\ta\u00a0", "a\r", "\na"):
        assert list(paired_lines(text, "c")) == [(*segment(text).lines, "c")]


def test_whole_texts_are_one_piece() -> None:
    assert list(paired_lines(" a\n\nb ", "c\n", whole=True)) == [("a\n\nb", "c")]
    assert list(paired_lines("a", " ", whole=True)) == []
    assert segment("a\nb", whole=True).join(["c"]) == "c"
    assert segment(" \n", whole=True).join([]) == " \n"
