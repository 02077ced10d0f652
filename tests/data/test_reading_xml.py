"""XLIFF, TMX and Qt TS: states, plurals, inline markup, languages, and unsafe XML."""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from pathlib import Path

import pytest
from readers import error_of, read

WELL_FORMED = (
    "The whole file must be XML in the encoding that it declares.\n"
    "Export it again, or check it with: xmllint --noout"
)


def xliff1(path: Path, *units: str, source: str = "en-US", target: str = "fr_FR") -> Path:
    path.write_text(
        '<?xml version="1.0"?>\n'
        '<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">\n'
        f'<file original="a.c" source-language="{source}" target-language="{target}"><body>\n'
        + "\n".join(units)
        + "\n</body></file></xliff>\n"
    )
    return path


def xliff2(path: Path, *units: str, source: str = "en", target: str = "fr") -> Path:
    path.write_text(
        '<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" '
        f'srcLang="{source}" trgLang="{target}"><file id="f">\n'
        + "\n".join(units)
        + "\n</file></xliff>"
    )
    return path


def tmx(path: Path, *units: str, doctype: str = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">') -> Path:
    path.write_text(
        f'<?xml version="1.0"?>\n{doctype}\n<tmx version="1.4"><header srclang="en"/><body>\n'
        + "\n".join(units)
        + "\n</body></tmx>\n"
    )
    return path


def tu(**texts: str) -> str:
    segments = "".join(
        f'<tuv xml:lang="{code.rstrip("_").replace("_", "-")}"><seg>{text}</seg></tuv>'
        for code, text in texts.items()
    )
    return f"<tu>{segments}</tu>"


def ts(path: Path, *messages: str, language: str = "fr_FR", source: str = "en") -> Path:
    path.write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE TS>\n'
        f'<TS version="2.1" language="{language}" sourcelanguage="{source}"><context>'
        "<name>Window</name>\n" + "\n".join(messages) + "\n</context></TS>\n"
    )
    return path


def test_xliff1_states(tmp_path: Path) -> None:
    states = ["", 'state="final"', 'state="new"', 'state="needs-review-translation"']
    states += ['state="translated"', 'state-qualifier="fuzzy-match"']
    units = [
        f'<trans-unit id="{number}" approved="no"><source>a</source>'
        f"<target {state}>b</target></trans-unit>"
        for number, state in enumerate(states)
    ]
    units += ['<trans-unit id="x"><source>a</source></trans-unit>']
    units += ['<trans-unit id="y"><source>a</source><target state="final"/></trans-unit>']
    found = read(xliff1(tmp_path / "a.xlf", *units))
    assert [unit.state for unit in found] == [
        "translated", "translated", "fuzzy", "fuzzy", "translated", "fuzzy",
        "untranslated", "untranslated",
    ]  # fmt: skip
    assert [unit.address.line for unit in found] == list(range(4, 12))
    assert found[3].address.unit == "a.c\x043"


def test_xliff2_states_and_segments(tmp_path: Path) -> None:
    path = xliff2(
        tmp_path / "a.xliff",
        '<unit id="u"><segment><source>One.</source><target>Un.</target></segment>'
        "<ignorable><source> </source></ignorable>"
        '<segment state="initial"><source>Two.</source><target>Deux.</target></segment></unit>',
        '<unit id="v"><segment id="s" state="final"><source>3</source><target>4</target></segment>'
        "<segment><source>None.</source></segment></unit>",
    )
    assert [(u.source, u.targets, u.state, u.address.unit) for u in read(path)] == [
        ("One.", ("Un.",), "translated", "u::segment-1"),
        ("Two.", ("Deux.",), "fuzzy", "u::segment-2"),
        ("3", ("4",), "translated", "v::s"),
        ("None.", (), "untranslated", "v::segment-2"),
    ]


def test_inline_elements_in_textual_form(tmp_path: Path) -> None:
    kept = {
        '<x id="1" equiv-text="{{n}}"/> files': "{{n}} files",
        "<ph id='1'>%s</ph> files": "%s files",
        "<bpt id='1'>&lt;b></bpt>all<ept id='1'>&lt;/b></ept>": "<b>all</b>",
        "<mrk mtype='seg'>all</mrk><!-- note --> files": "all files",
        "<![CDATA[<b>]]>all": "<b>all",
    }
    lost = ["<x id='1'/> files", "<g id='1'>all</g> files", "<ph id='1'/> files", "<bpt id='1'/>a"]
    units = [
        f'<trans-unit id="1" xml:space="preserve"><source>{text}</source><target>b</target>'
        "</trans-unit>"
        for text in [*kept, *lost]
    ]
    units += ["<trans-unit id='2'><source>a</source><target><x id='1'/>b</target></trans-unit>"]
    skipped: Counter[str] = Counter()
    found = read(xliff1(tmp_path / "a.xlf", *units), skipped=skipped)
    assert [unit.source for unit in found] == list(kept.values())
    assert skipped == {"inline markup": 5}
    path = xliff2(
        tmp_path / "b.xlf",
        '<unit id="u"><segment><source><ph id="1" equiv="%d"/> files</source>'
        '<target><ph id="1" disp="%d"/> fichiers</target></segment>'
        '<segment><source><pc id="1">all</pc></source><target>a</target></segment></unit>',
    )
    skipped.clear()
    (unit,) = read(path, skipped=skipped)
    assert (unit.source, unit.targets) == ("%d files", ("%d fichiers",))
    assert skipped == {"inline markup": 1}


def test_white_space_of_xliff_is_folded_unless_preserved(tmp_path: Path) -> None:
    text = "<source>\n a <ph id='1'>%s</ph>\n b</source><target> c\n d </target>"
    path = xliff1(
        tmp_path / "a.xlf",
        f'<trans-unit id="1">{text}</trans-unit>',
        f'<trans-unit id="2" xml:space="preserve">{text}</trans-unit>',
    )
    assert [(unit.source, unit.targets) for unit in read(path)] == [
        ("a %s b", ("c d",)),
        ("\n a %s\n b", (" c\n d ",)),
    ]


def test_what_converters_write(tmp_path: Path) -> None:
    """The way from PO and back, through translate-toolkit's own converters."""
    from translate.convert import po2tmx, po2ts, po2xliff

    po = tmp_path / "a.po"
    po.write_text(
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: fr\\n"\n'
        '"Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\nmsgid "Open"\nmsgstr "Ouvrir"\n\n'
        'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d fichier"\n'
        'msgstr[1] "%d fichiers"\n\n#, fuzzy\nmsgid "Save"\nmsgstr "Garder"\n\n'
        'msgid "Close"\nmsgstr ""\n'
    )
    for module, suffix, options in (
        (po2xliff, "xlf", []),
        (po2tmx, "tmx", ["-l", "fr"]),
        (po2ts, "ts", []),
    ):
        module.main([str(po), str(tmp_path / f"a.{suffix}"), "--progress=none", *options])
    expected = [
        ("Open", ("Ouvrir",), "translated", None),
        ("%d file", ("%d fichier",), "translated", 0),
        ("%d files", ("%d fichiers",), "translated", 1),
        ("Save", ("Garder",), "fuzzy", None),
        ("Close", (), "untranslated", None),
    ]
    seen = {
        suffix: [
            (unit.source, unit.targets, unit.state, unit.address.plural)
            for unit in read(tmp_path / f"a.{suffix}")
        ]
        for suffix in ("po", "xlf", "tmx", "ts")
    }
    assert seen["po"] == seen["xlf"] == expected
    # TMX keeps sound pairs only, and knows no plurals; TS has one source for all forms.
    assert seen["tmx"] == [(*entry[:3], None) for entry in expected[:3]]
    assert [entry[0] for entry in seen["ts"]][1:3] == ["%d file(s)", "%d file(s)"]
    assert [entry[1:] for entry in seen["ts"]] == [entry[1:] for entry in expected]


def test_tmx_has_references_context_and_tuids(tmp_path: Path) -> None:
    path = tmx(
        tmp_path / "a.tmx",
        tu(en_US="one", fr="un", de="eins", fr_FR="une"),
        '<tu tuid="t7"><prop type="x-context">menu</prop><tuv xml:lang="EN"><seg>two</seg></tuv>'
        '<tuv lang="fr"><seg>d<it pos="begin">&lt;i></it>eux</seg></tuv></tu>',
        tu(en="three", de="drei"),
        tu(fr="quatre", de="vier"),
    )
    skipped: Counter[str] = Counter()
    units = read(path, skipped=skipped)
    assert [(u.source, u.targets, u.address.unit, u.address.line) for u in units] == [
        ("one", ("un", "une"), "1", 4),
        ("two", ("d<i>eux",), "t7", 5),
        ("three", (), "3", 6),
    ]
    assert (units[1].address.context, units[2].state) == ("menu", "untranslated")
    assert skipped == {"no text in the source language": 1}
    packed = tmp_path / "a.tmx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [unit.source for unit in read(packed)] == ["one", "two", "three"]
    packed.write_bytes(gzip.compress(path.read_bytes())[:-20])
    assert "the gzip file is damaged or cut short" in error_of(packed)


def test_tmx_with_a_variant_of_the_source_language(tmp_path: Path) -> None:
    path = tmx(
        tmp_path / "a.tmx",
        tu(en="color", en_GB="colour"),
        tu(en_GB="grey", en="gray"),
        tu(en_US="center", en_GB="centre"),
    )
    units = read(path, target_language="en-GB")
    assert [(unit.source, unit.targets) for unit in units] == [
        ("color", ("colour",)),
        ("gray", ("grey",)),
        ("center", ("centre",)),
    ]
    units = read(path, source_language="en-GB", target_language="en")
    assert [(unit.source, unit.targets) for unit in units] == [
        ("colour", ("color",)),
        ("grey", ("gray",)),
        ("centre", ("center",)),
    ]


def test_tmx_without_the_language(tmp_path: Path) -> None:
    path = tmx(tmp_path / "a.tmx", tu(en="one", de="eins"), tu(en="two", pt_BR="dois"))
    assert error_of(path) == (
        f'{path}: no text in "fr"; the languages of the file are: de, en, pt-BR.\n'
        "The target language must be one of these.\n"
        "Choose one of them, as task.target=CODE, or give another file."
    )
    assert error_of(path, source_language="es", target_language="de").startswith(
        f'{path}: no text in "es"; the languages of the file are: de, en, pt-BR.\n'
        "The source language"
    )


def test_ts_states_plurals_and_context(tmp_path: Path) -> None:
    path = ts(
        tmp_path / "a.ts",
        "<message><source>Open</source><comment>verb</comment><translation>Ouvrir</translation>"
        "</message>",
        '<message><source>Save</source><translation type="unfinished">Garder</translation>'
        "</message>",
        '<message><source>Close</source><translation type="unfinished"></translation></message>',
        '<message><source>Old</source><translation type="vanished">Vieux</translation></message>',
        '<message numerus="yes"><source>%n file(s)</source><translation>'
        "<numerusform>%n fichier</numerusform><numerusform>%n fichiers</numerusform>"
        "</translation></message>",
        '<message><source>a<byte value="x7"/>b</source><translation>c</translation></message>',
        "<message><source>Bare</source></message>",
    )
    skipped: Counter[str] = Counter()
    units = read(path, skipped=skipped)
    assert [(u.source, u.targets, u.state, u.address.line, u.address.plural) for u in units] == [
        ("Open", ("Ouvrir",), "translated", 4, None),
        ("Save", ("Garder",), "fuzzy", 5, None),
        ("Close", (), "untranslated", 6, None),
        ("Old", ("Vieux",), "obsolete", 7, None),
        ("%n file(s)", ("%n fichier",), "translated", 8, 0),
        ("%n file(s)", ("%n fichiers",), "translated", 8, 1),
        ("Bare", (), "untranslated", 10, None),
    ]
    assert [unit.address.context for unit in units][:2] == ["Window\nverb", "Window"]
    assert skipped == {"inline markup": 1}


def test_ts_with_too_few_forms(tmp_path: Path) -> None:
    path = ts(
        tmp_path / "a.ts",
        '<message numerus="yes"><source>%n file(s)</source><translation>'
        "<numerusform>%n fichier</numerusform></translation></message>",
    )
    assert error_of(path) == (
        f"{path}:4: plural message has 1 numerus forms, fr has 2.\n"
        "Every plural message needs all forms. Complete it, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )


@pytest.mark.parametrize(
    ("write", "name", "source_name", "target_name"),
    [
        (xliff1, "a.xlf", "source-language", "target-language"),
        (xliff2, "a.xlf", "srcLang", "trgLang"),
        (ts, "a.ts", "sourcelanguage", "language"),
    ],
)
def test_files_in_other_languages(
    tmp_path: Path, write: object, name: str, source_name: str, target_name: str
) -> None:
    make = globals()[write.__name__]  # type: ignore[attr-defined]
    path = make(tmp_path / name, source="de")
    assert error_of(path) == (
        f'{path}: the file says {source_name} "de", the task asks for "en".\n'
        "The source side of the file must be in the task's source language.\n"
        "Give another file, or set task.source=de."
    )
    path = make(tmp_path / name, **{"language" if write is ts else "target": "pt_BR"})
    assert error_of(path) == (
        f'{path}: the file says {target_name} "pt_BR", the task asks for "fr".\n'
        "The target side of the file must be in the task's target language.\n"
        "Give another file, or set task.target=pt_BR."
    )


@pytest.mark.parametrize("suffix", ["xlf", "tmx", "ts"])
def test_xml_syntax_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    root = {"xlf": "xliff", "tmx": "tmx", "ts": "TS"}[suffix]
    path.write_text(f"<{root}>\n<body>\n</{root}>\n")
    assert error_of(path) == (
        f"{path}:3: not well-formed XML: Opening and ending tag mismatch: body line 2 and {root}.\n"
        f"{WELL_FORMED}"
    )
    path.write_bytes(f'<?xml version="1.0"?>\n<{root}>\n<a>\xe9</a></{root}>'.encode("latin-1"))
    assert error_of(path).startswith(f"{path}:3: not well-formed XML: ")
    path.write_text("")
    assert error_of(path).startswith(f"{path}:1: not well-formed XML: ")
    path.write_text("<html/>")
    kind = {"xlf": "an XLIFF file", "tmx": "a TMX file", "ts": "a Qt TS file"}[suffix]
    assert error_of(path) == (
        f"{path}: not {kind}: its root element is <html>.\n"
        f"The root element of the format is <{root}>.\n"
        "Give the file the suffix of its format."
    )


@pytest.mark.parametrize(
    "declaration",
    ['<!ENTITY x "y">', '<!ENTITY x SYSTEM "file:///etc/passwd">', '<!ENTITY % x "y">'],
)
@pytest.mark.parametrize("suffix", ["xlf", "tmx", "ts"])
def test_entities_are_refused(tmp_path: Path, suffix: str, declaration: str) -> None:
    root = {"xlf": "xliff", "tmx": "tmx", "ts": "TS"}[suffix]
    path = tmp_path / f"a.{suffix}"
    use = "" if "%" in declaration else "&x;"
    path.write_text(f"<!DOCTYPE {root} [{declaration}]>\n<{root}><a>{use}</a></{root}>")
    assert error_of(path) == (
        f"{path}: entity `x` is declared or used.\n"
        "For safety, XML is read without entities other than &amp; &lt; &gt; &quot; &apos;\n"
        "Replace it by its text."
    )


def test_an_entity_of_an_outer_dtd_is_refused(tmp_path: Path) -> None:
    path = tmx(tmp_path / "a.tmx", tu(en="a&nbsp;b", fr="c"))
    assert error_of(path).startswith(f"{path}:4: entity `nbsp` is declared or used.\n")


def test_without_translate_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "translate.storage.lisa", None)
    for suffix, name in (("xlf", "XLIFF"), ("tmx", "TMX"), ("ts", "Qt TS")):
        path = tmp_path / f"a.{suffix}"
        path.touch()
        assert error_of(path) == (
            f"Reading {name} files needs the optional dependencies of attuner[l10n].\n"
            'Install them with: pip install "attuner[l10n]"'
        )
