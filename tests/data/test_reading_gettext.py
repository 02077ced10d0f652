"""PO and MO: what is yielded, in which state, and what is said of broken files."""

from __future__ import annotations

import pickle
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest
from readers import error_of, read

HEADER = (
    'msgid ""\nmsgstr ""\n'
    '"Content-Type: text/plain; charset={charset}\\n"\n'
    '"Language: {language}\\n"\n'
    '"Plural-Forms: {plurals}\\n"\n\n'
)
TWO = "nplurals=2; plural=(n > 1);"
THREE = (
    "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && "
    "(n%100<10 || n%100>=20) ? 1 : 2);"
)
CHECK = (
    "An entry is msgid and msgstr, each followed by text in double quotes.\n"
    "Check the file with: msgfmt --check"
)
PLURAL = 'msgid "%d file"\nmsgid_plural "%d files"\n'


def write_po(
    path: Path, body: str, charset: str = "UTF-8", language: str = "fr", plurals: str = TWO
) -> Path:
    header = HEADER.format(charset=charset, language=language, plurals=plurals)
    codec = "utf-8" if charset == "CHARSET" else charset
    path.write_bytes((header + body).encode(codec))
    return path


def write_mo(path: Path, entries: dict[bytes, bytes], order: str = "<") -> Path:
    keys = sorted(entries)
    start = 28 + 16 * len(keys)
    tables, strings = [], b""
    for texts in (keys, [entries[key] for key in keys]):
        for text in texts:
            tables += [len(text), start + len(strings)]
            strings += text + b"\0"
    head = (0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0)
    path.write_bytes(struct.pack(f"{order}7I{len(tables)}I", *head, *tables) + strings)
    return path


def mo_header(language: str = "fr", plurals: str = TWO) -> bytes:
    return (
        f"Content-Type: text/plain; charset=UTF-8\nLanguage: {language}\nPlural-Forms: {plurals}\n"
    ).encode()


def test_all_entries_are_yielded_with_their_state(tmp_path: Path) -> None:
    body = (
        '# note\n#: a.c:1\nmsgid "Open"\nmsgstr "Ouvrir"\n\n'
        '#, fuzzy\nmsgctxt "menu"\nmsgid "Save as"\nmsgstr "Enregistrer"\n\n'
        'msgid "New\\n"\n"line"\nmsgstr ""\n\n'
        '#~ msgid "Old"\n#~ msgstr "Vieux"\n'
    )
    path = write_po(tmp_path / "a.po", body)
    units = read(path)
    assert [(u.source, u.targets, u.state, u.address.line, u.address.context) for u in units] == [
        ("Open", ("Ouvrir",), "translated", 9, ""),
        ("Save as", ("Enregistrer",), "fuzzy", 14, "menu"),
        ("New\nline", (), "untranslated", 17, ""),
        ("Old", ("Vieux",), "obsolete", 21, ""),
    ]
    assert path.read_text().split("\n")[20] == '#~ msgid "Old"'
    assert [unit.address.unit for unit in units] == ["Open", "Save as", "New\nline", "Old"]


def test_kde_context_stays_out_of_the_text(tmp_path: Path) -> None:
    body = 'msgid ""\n"_: verb\\n"\n"Close"\nmsgstr "Fermer"\n'
    (unit,) = read(write_po(tmp_path / "a.po", body))
    assert (unit.source, unit.address.context) == ("Close", "verb")
    entries = {b"": mo_header(), b"_: verb\nClose": b"Fermer"}
    (unit,) = read(write_mo(tmp_path / "a.mo", entries))
    assert (unit.source, unit.address.context) == ("Close", "verb")


def test_two_plural_forms_pair_with_singular_and_plural(tmp_path: Path) -> None:
    body = PLURAL + 'msgstr[0] "%d fichier"\nmsgstr[1] "%d fichiers"\n'
    units = read(write_po(tmp_path / "a.po", body))
    assert [(u.source, u.targets, u.address.plural) for u in units] == [
        ("%d file", ("%d fichier",), 0),
        ("%d files", ("%d fichiers",), 1),
    ]
    # translate-toolkit's strings carry the other forms along; ours must be nothing but text.
    assert {type(text) for u in units for text in (u.source, *u.targets, u.address.unit)} == {str}
    assert pickle.loads(pickle.dumps(units)) == units


def test_three_forms_pair_as_the_header_says(tmp_path: Path) -> None:
    body = PLURAL + 'msgstr[0] "a"\nmsgstr[1] "b"\nmsgstr[2] "c"\n'
    path = write_po(tmp_path / "a.po", body, language="ru", plurals=THREE)
    units = read(path, target_language="ru")
    assert [u.source for u in units] == ["%d file", "%d files", "%d files"]
    swapped = "nplurals=3; plural=(n==1 ? 2 : n==2 ? 0 : 1);"
    path = write_po(tmp_path / "a.po", body, language="xx", plurals=swapped)
    units = read(path, target_language="xx")
    assert [u.source for u in units] == ["%d files", "%d files", "%d file"]


def test_a_single_form_translates_the_plural(tmp_path: Path) -> None:
    body = PLURAL + 'msgstr[0] "%d ファイル"\n'
    path = write_po(tmp_path / "a.po", body, language="ja", plurals="nplurals=1; plural=0;")
    (unit,) = read(path, target_language="ja")
    assert (unit.source, unit.address.plural) == ("%d files", 0)


def test_wrong_number_of_plural_forms(tmp_path: Path) -> None:
    body = PLURAL + 'msgstr[0] "%d fichier"\nmsgstr[1] "%d fichiers"\n\nmsgid "a"\nmsgstr "b"\n'
    path = write_po(tmp_path / "de.po", body, plurals=THREE)
    assert error_of(path) == (
        f"{path}:7: plural entry has 2 msgstr forms, the header declares 3.\n"
        "Every plural entry needs all forms. Complete it, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )
    skipped: Counter[str] = Counter()
    assert [u.source for u in read(path, bad_entries="skip", skipped=skipped)] == ["a"]
    assert skipped == {"wrong number of plural forms": 1}
    entries = {b"": mo_header(plurals=THREE), b"%d file\0%d files": b"one\0two"}
    mo = write_mo(tmp_path / "de.mo", entries)
    assert error_of(mo).split("\n")[0] == (
        f'{mo}: entry 2, msgid "%d file": plural entry has 2 msgstr forms, the header declares 3.'
    )


def test_untranslated_plural_of_a_template_is_no_fault(tmp_path: Path) -> None:
    body = PLURAL + 'msgstr[0] ""\nmsgstr[1] ""\n'
    units = read(write_po(tmp_path / "a.po", body, plurals=THREE))
    assert [unit.state for unit in units] == ["untranslated", "untranslated"]


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("nplurals=2; plural=n+;", "unexpected end of plural form"),
        ("nplurals=2; plural=__import__('os');", "invalid token in plural form: __import__"),
        ("nplurals=2; plural=1/(n-1);", "integer division or modulo by zero"),
        ("nplurals=2; plural=5;", "for n = 1 it gives form 5 of 2"),
    ],
)
def test_plural_rule_that_cannot_be_used(tmp_path: Path, rule: str, what: str) -> None:
    path = write_po(tmp_path / "a.po", 'msgid "a"\nmsgstr "b"\n', plurals=rule)
    assert error_of(path) == (
        f'{path}: the header has "Plural-Forms: {rule}": {what}.\n'
        "It is a number and a C expression with a value below it.\n"
        "Write for example: nplurals=2; plural=(n > 1);"
    )


def test_broken_utf8_is_not_taken_for_latin1(tmp_path: Path) -> None:
    path = write_po(tmp_path / "a.po", 'msgid "a"\nmsgstr "b"\n\nmsgid "cafe"\nmsgstr "@"\n')
    path.write_bytes(path.read_bytes().replace(b"@", "café".encode("latin-1")))
    assert error_of(path) == (
        f"{path}:11: byte 0xe9 at byte 12 of the line is not utf-8.\n"
        "The charset in the header is that of the file; where there is none, "
        "data.train[0].encoding=CHARSET is. "
        "Mend the charset or the line, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )
    skipped: Counter[str] = Counter()
    assert [u.source for u in read(path, bad_entries="skip", skipped=skipped)] == ["a"]
    assert skipped == {"invalid encoding": 1}


def test_the_charset_of_the_header_is_used(tmp_path: Path) -> None:
    body = 'msgid "cafe"\nmsgstr "café"\n'
    for charset in ("ISO-8859-1", "UTF-8", "utf-8", "CHARSET", "cp1252"):
        (unit,) = read(write_po(tmp_path / "a.po", body, charset))
        assert unit.targets == ("café",)


def test_encoding_of_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_bytes('msgid "cafe"\nmsgstr "café"\n'.encode("cp1252"))
    assert read(path, encoding="cp1252")[0].targets == ("café",)


def test_unknown_charset(tmp_path: Path) -> None:
    path = write_po(tmp_path / "a.po", "").with_name("b.po")
    path.write_text(HEADER.format(charset="utf-99", language="fr", plurals=TWO))
    assert error_of(path) == (
        f'{path}: encoding "utf-99" is unknown.\n'
        "Known are Python's text encodings: utf-8, utf-16, cp1252, iso-8859-15, shift_jis ..."
    )


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ('msgid "a\nmsgstr "b"\n', 7, 'cannot be read: msgid "a'),
        ('msgid "a"\nmsgstr b\n', 8, "cannot be read: msgstr b"),
        ('msgid "say "hi""\nmsgstr "b"\n', 7, 'cannot be read: msgid "say "hi""'),
        ('# note\nmsgid "a"\n\nmsgid "b"\nmsgstr "c"\n', 8, "msgid without msgstr"),
        ('msgid "a"\nmsgstr "b"\nmsgstr "c"\n', 9, "Syntax error on line 9: 'msgstr \"c\"\\n'"),
    ],
)
def test_po_syntax_error(tmp_path: Path, body: str, line: int, what: str) -> None:
    path = write_po(tmp_path / "a.po", body)
    assert error_of(path) == f"{path}:{line}: PO syntax error: {what}.\n{CHECK}"


def test_another_language(tmp_path: Path) -> None:
    expected = (
        '{}: the file says Language "de", the task asks for "fr".\n'
        "The target side of the file must be in the task's target language.\n"
        "Give another file, or set task.target=de."
    )
    po = write_po(tmp_path / "a.po", "", language="de")
    assert error_of(po) == expected.format(po)
    mo = write_mo(tmp_path / "a.mo", {b"": mo_header("de"), b"a": b"b"})
    assert error_of(mo) == expected.format(mo)


@pytest.mark.parametrize("language", ["", "fr_FR", "fr", "fr@euro", "French"])
def test_languages_that_do_not_contradict(tmp_path: Path, language: str) -> None:
    assert read(write_po(tmp_path / "a.po", 'msgid "a"\nmsgstr "b"\n', language=language))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, end: str) -> None:
    path = write_po(tmp_path / "a.po", 'msgid "a\\r\\n"\nmsgstr "b"\n')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end.encode()))
    (unit,) = read(path)
    assert (unit.source, unit.targets, unit.address.line) == ("a\r\n", ("b",), 7)


def test_empty_po_and_nul(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.touch()
    assert read(path) == []
    write_po(path, 'msgid "a\0"\nmsgstr "b"\n')
    assert error_of(path) == (
        f"{path}:7: NUL character in the text.\n"
        "A text consists of whole Unicode characters other than NUL. Mend it, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )


def test_without_translate_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "translate.storage.pypo", None)
    assert error_of(write_po(tmp_path / "a.po", "")) == (
        "Reading PO files needs the optional dependencies of attuner[l10n].\n"
        'Install them with: pip install "attuner[l10n]"'
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_mo(tmp_path: Path, order: str) -> None:
    entries = {
        b"": mo_header(),
        b"menu\x04Open": b"Ouvrir",
        b"%d file\0%d files": b"%d fichier\0%d fichiers",
    }
    path = write_mo(tmp_path / "a.mo", entries, order)
    units = read(path)
    assert [(u.source, u.targets, u.address.plural, u.address.context) for u in units] == [
        ("%d file", ("%d fichier",), 0, ""),
        ("%d files", ("%d fichiers",), 1, ""),
        ("Open", ("Ouvrir",), None, "menu"),
    ]
    assert str(units[2].address) == f"{path}: entry Open"


def test_mo_with_broken_utf8_names_entry_and_msgid(tmp_path: Path) -> None:
    path = write_mo(tmp_path / "a.mo", {b"": mo_header(), b"a": b"b", b"cafe": b"caf\xe9"})
    assert error_of(path) == (
        f'{path}: entry 3, msgid "cafe": not utf-8 '
        "('utf-8' codec can't decode byte 0xe9 in position 3: unexpected end of data).\n"
        "The header of the file says that it is utf-8. Compile it again from its PO file, "
        "or set data.bad_entries=skip (skipped entries are counted)."
    )
    assert [u.source for u in read(path, bad_entries="skip")] == ["a"]


def test_damaged_mo(tmp_path: Path) -> None:
    path = write_mo(tmp_path / "a.mo", {b"": mo_header(), b"a": b"b"})
    whole = path.read_bytes()
    for content, what in (
        (b"", "0 bytes are too few for its head"),
        (b"PK" + whole[2:], "it begins with 504b0495, not de120495 or 950412de"),
        (whole[:40], "2 entries do not fit into 40 bytes"),
        (whole[:-3], "entry 2 lies outside the file"),
    ):
        path.write_bytes(content)
        assert error_of(path) == (
            f"{path}: not a whole MO file: {what}.\n"
            "An MO file is what msgfmt writes.\n"
            "Compile it again from its PO file with msgfmt."
        )
