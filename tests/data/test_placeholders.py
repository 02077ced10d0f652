import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.data import placeholders as module
from attuner.data.placeholders import (
    accelerators,
    compare_placeholders,
    find_placeholders,
    missing_placeholders,
    placeholders,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C %s %1$s, %-10s %02d %.2f", ["%s", "%1$s", "%-10s", "%02d", "%.2f"]),
        ("C %5.1f %lu %lld %zu %*d", ["%5.1f", "%lu", "%lld", "%zu", "%*d"]),
        ("Apple %@ %2$@", ["%@", "%2$@"]),
        ("Python %(name)s %(size)05.1f", ["%(name)s", "%(size)05.1f"]),
        ("Ruby %{name}", ["%{name}"]),
        ("gettext %<PRIu64> bytes", ["%<PRIu64>"]),
        ("Qt %1 %L2 %12 %n %Ln", ["%1", "%L2", "%12", "%n", "%Ln"]),
        ("%1s left, %1 %2%", ["%1", "%1", "%2"]),
        ("sentence ends in %1.", ["%1"]),
        ("braces {} {0} {name} {a.b[0]!r:>5}", ["{}", "{0}", "{name}", "{a.b[0]!r:>5}"]),
        ("{:%Y-%m-%d %H:%M} {x:,.2f}", ["{:%Y-%m-%d %H:%M}", "{x:,.2f}"]),
        ("i18next {{count}} and ${var}", ["{{count}}", "${var}"]),
        ("<a href='x' b = 1 >go</a><br/><br>", ["<a>", "</a>", "<br>", "<br>"]),
        ("<p title='%1'>", ["<p>", "%1"]),
        ("&lt;b&gt; &#160; &#xA0;", ["&lt;", "&gt;", "&#160;", "&#xA0;"]),
        ("{n, plural, one {{who} file} other {{who} files}}", ["{n, plural}", "{who}"]),
        ("{0, number}", ["{0, number}"]),
        ("unfinished {n, plural, one {x}", ["{n, plural}", "{x}"]),
    ],
)
def test_each_format_is_found(text, found):
    assert sorted(placeholders(text).elements()) == sorted(found)


@pytest.mark.parametrize(
    "text",
    [
        "50 % de remise, 100 %",
        "100%% sure",
        "a < b and c > d",
        "R&D, &File, Tom & Jerry",
        "{ not a placeholder }",
        "{id: string, type?: string} and {id: 1}",
        "<file name> and <open file: 1>",
        "costs $5",
        "see https://example.org/%20x?a={b}",
    ],
)
def test_prose_is_left_alone(text):
    assert not [key for key in placeholders(text) if key != "{b}"]


def test_positions_give_the_text_back():
    text = "Copy <b>%1</b> to {dir} (see https://kde.org/a.)"
    found = list(find_placeholders(text))
    assert [(p.kind, text[p.start : p.end]) for p in found] == [
        ("tag", "<b>"),
        ("qt", "%1"),
        ("tag", "</b>"),
        ("brace", "{dir}"),
        ("url", "https://kde.org/a"),
    ]


@given(st.text(alphabet="%{}<>&$1sn(),.| aplurc;/#", max_size=40))
def test_any_text_is_read_and_positions_are_right(text):
    end = 0
    for found in find_placeholders(text):
        assert found.start >= end
        assert text[found.start : found.end] == found.text
        assert found.text
        end = found.end
    assert not missing_placeholders(text, text)


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ("Open %1", "Ouvrir", {"%1": 1}),
        ("%1 %1", "%1", {"%1": 1}),
        ("%s of %d", "%2$d sur %1$s", {}),
        ("%s of %d", "%2$s sur %1$s", {"%2$d": 1}),
        ("%1$s of %2$s", "%s sur %s", {}),
        ("<a href='en'>x</a>", "<a href='fr'>x</a>", {}),
        ("<b>x</b>", "<b>x", {"</b>": 1}),
        ("&quot;x&quot;", "« x »", {}),
        ("&kde; x", "KDE x", {"&kde;": 1}),
        ("a &lt; b", "a b", {"&lt;": 1}),
        ("{n, plural, one {# a} other {# b}}", "{n, plural, one {# c} many {# d} other {#}}", {}),
        ("plain", "simple %1", {}),
    ],
)
def test_what_a_translation_lost(source, target, missing):
    assert missing_placeholders(source, target) == missing


def test_invented_placeholders_are_told_from_missing_ones():
    assert compare_placeholders("of %1, %2", "de %1 &laquo;%1&raquo;") == ({"%2": 1}, {"%1": 1})
    assert compare_placeholders("%s %s", "%2$s %1$s %3$s") == ({}, {"%3$s": 1})


@pytest.mark.parametrize(
    ("text", "marked"),
    [("&File", ["f"]), ("Save && E&xit &amp;", ["x"]), ("A & B", []), ("&é", ["é"])],
)
def test_accelerators(text, marked):
    assert accelerators(text) == marked


def test_examples_in_the_documentation():
    assert doctest.testmod(module).failed == 0
