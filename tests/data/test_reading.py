"""The entrance: what a path stands for, and what is said when it stands for nothing."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from readers import error_of, read

from attuner.data.languages import find_language, same_language
from attuner.data.reading import READERS, find_files
from attuner.errors import DataError, UserError

KNOWN = ".csv, .json, .jsonl, .mo, .parquet, .po, .tmx, .ts, .tsv, .xlf, .xliff, .zip"


def write_rows(path: Path, *pairs: tuple[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"en": en, "fr": fr}) + "\n" for en, fr in pairs))
    return path


def test_a_folder_is_read_recursively_and_sorted(tmp_path: Path) -> None:
    write_rows(tmp_path / "b" / "x.jsonl", ("two", "deux"))
    write_rows(tmp_path / "a.jsonl", ("one", "un"))
    write_rows(tmp_path / ".cache" / "x.jsonl", ("hidden", "caché"))
    (tmp_path / "README.txt").write_text("no data")
    assert [unit.source for unit in read(tmp_path)] == ["one", "two"]
    assert find_files(str(tmp_path)) == [tmp_path / "a.jsonl", tmp_path / "b" / "x.jsonl"]


@pytest.mark.parametrize("named", ["donn\udce9es.csv", "", "*.csv"])
def test_a_file_whose_name_is_not_utf8(named: str, tmp_path: Path) -> None:
    (tmp_path / "donn\udce9es.csv").write_text("en,fr\none,un\n")
    assert error_of(tmp_path / named) == (
        f"{tmp_path / 'donn'}\\udce9es.csv: the name of the file is not UTF-8.\n"
        "A run writes down which files it was trained on, as text.\n"
        "Rename it."
    )


def test_a_glob_is_sorted_and_goes_down(tmp_path: Path) -> None:
    write_rows(tmp_path / "z.jsonl", ("three", "trois"))
    write_rows(tmp_path / "b" / "c" / "x.jsonl", ("two", "deux"))
    write_rows(tmp_path / "b" / "a.jsonl", ("one", "un"))
    assert [unit.source for unit in read(tmp_path / "**" / "*.jsonl")] == ["one", "two", "three"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path: Path) -> None:
    write_rows(tmp_path / "a[1].jsonl", ("one", "un"))
    assert [unit.targets for unit in read(tmp_path / "a[1].jsonl")] == [("un",)]


def test_a_relative_path_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "a.jsonl", ("one", "un"))
    monkeypatch.chdir(tmp_path)
    assert read("a.jsonl")[0].address.file == "a.jsonl"


def test_units_carry_languages_weight_and_address(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ("one", "un"))
    (unit,) = read(path, weight=2.5)
    assert (unit.source_language, unit.target_language, unit.weight) == ("en", "fr", 2.5)
    assert str(unit.address) == f"{path}:1"
    assert (unit.address.unit, unit.address.catalog) == ("1", str(path))


def test_missing_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "strings.jsonl")
    assert error_of(tmp_path / "string.jsonl") == (
        f"{tmp_path}/string.jsonl: no such file.\n"
        f'Did you mean "{tmp_path}/strings.jsonl"?'
    )  # fmt: skip
    assert error_of(tmp_path / "no" / "string.jsonl") == (
        f"{tmp_path}/no/string.jsonl: no such file.\nThere is no folder {tmp_path}/no either."
    )


@pytest.mark.parametrize("name", ["a\0b.po", "x" * 5000 + ".po", "", "*\0", "~"])
def test_odd_names_are_missing_files(name: str) -> None:
    assert "no such file" in error_of(name)


def test_unknown_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.pox"
    path.write_text("x")
    assert error_of(path) == (
        f'{path}: unknown suffix ".pox".\n'
        f'Did you mean ".po"? Known: {KNOWN}.\n'
        "Text tables and catalogs may end in .gz as well. "
        "For parallel text, set data.train[0].target_path=FILE"
    )


def test_plain_text_needs_its_translations(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    assert error_of(path) == (
        f"{path}: a plain text file holds one language.\n"
        "Its translations are in a second file, line by line.\n"
        "Name that one: data.train[0].target_path=FILE"
    )


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a.doc").touch()
    assert error_of(tmp_path) == (
        f"{tmp_path}: no file of a known format in this folder.\nKnown: {KNOWN}."
    )


def test_glob_without_matches(tmp_path: Path) -> None:
    assert error_of(tmp_path / "*.po") == (
        f"{tmp_path}/*.po: no file matches.\n"
        "In a pattern, * stands for any part of a name and ** for any folders.\n"
        "Quote the pattern, so that the shell leaves it alone."
    )


def test_every_reader_has_a_known_suffix() -> None:
    assert ", ".join(sorted(READERS)) == KNOWN


def test_catalogs_of_a_package_by_either_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "words_pack"
    for language, target in (("fr", "un"), ("de", "eins")):
        folder = package / "locale" / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "x.po").write_text(f'msgid "one"\nmsgstr "{target}"\n')
        (folder / "x.mo").write_bytes(b"never read: the .po holds the same")
        (folder / "x.json").write_text("{}")
    (package / "widget.ts").write_text("export const a = 1;")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / "words_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: words-pack\nVersion: 1.0\n")
    files = [file.relative_to(tmp_path) for file in package.rglob("*") if file.is_file()]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("words-pack", "words_pack"):
        assert [unit.targets for unit in read(f"package:{name}")] == [("un",)]
        assert len(find_files(f"package:{name}")) == 2
    assert error_of("package:words-pack", target_language="es") == (
        "package:words-pack: no catalogs in es.\n"
        "The package has: de, fr.\n"
        "Choose one of them, as task.target=CODE."
    )


@pytest.mark.parametrize(
    ("language", "found"),
    [("pt", ["pt"]), ("pt-BR", ["pt_BR"]), ("pt_PT", ["pt"]), ("zh", ["zh_CN", "zh_TW"])],
)
def test_of_a_package_the_language_asked_for_and_not_its_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, found: list[str]
) -> None:
    for code in ("pt", "pt_BR", "zh_CN", "zh_TW"):
        folder = tmp_path / "words_of_many" / code / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "x.po").write_text(f'msgid "one"\nmsgstr "{code}"\n')
    (tmp_path / "words_of_many" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    units = read("package:words_of_many", target_language=language)
    assert [unit.targets[0] for unit in units] == found


def test_package_that_is_not_installed() -> None:
    assert error_of("package:no-such-words") == (
        "package:no-such-words: no such package is installed.\n"
        "Give the name that pip knows, or the one that is imported.\n"
        "Install it with: pip install no-such-words"
    )
    assert "no such package" in error_of("package:")
    assert "no such package" in error_of("package:os.path.x")


def test_package_without_catalogs() -> None:
    assert error_of("package:json") == (
        "package:json: no catalogs in it.\nCatalogs end in: .po, .mo, .xlf, .xliff, .tmx, .ts."
    )


def test_gzip_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"en": "one", "fr": "un"}\n' * 9)[:-12])
    assert error_of(path) == (
        f"{path}: the gzip file is damaged or cut short "
        "(Compressed file ended before the end-of-stream marker was reached).\n"
        "A file that ends in .gz is a whole gzip file.\n"
        "Fetch it again, or check it with: gzip --test"
    )
    path.write_bytes(b"not gzip")
    assert "(Not a gzipped file (b'no'))" in error_of(path)


def test_bad_entries_of_all_files_are_collected(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"en": "one", "fr": "un"}\n' + "[]\n" * 7)
    shown = [
        f"{tmp_path}/{name}.jsonl:{line}: a row of type list, not an object."
        for name in "ab"
        for line in range(2, 9)
    ][:10]
    assert error_of(tmp_path) == "\n".join(
        [
            *shown,
            "... and 4 more.",
            "14 bad entries in all.",
            "Every row is an object with named values. Mend it, "
            "or set data.bad_entries=skip (skipped entries are counted).",
        ]
    )
    skipped: Counter[str] = Counter()
    assert len(read(tmp_path, bad_entries="skip", skipped=skipped)) == 2
    assert skipped == {"not an object": 14}


def test_languages() -> None:
    assert same_language("zh-Hans", "zh")
    assert not same_language("zh-Hans", "zh-Hant")
    assert same_language("no", "nb_NO")
    assert not same_language("nb", "nn")
    assert find_language(["nb", "no"], "no") == "no"
    assert find_language(["fr_CA", "fr"], "fr") == "fr"
    assert find_language(["fr_CA", "fr_FR"], "fr") is None
    assert find_language(["fr_CA", "frequency"], "fr") == "fr_CA"


def test_data_error_is_a_user_error() -> None:
    assert issubclass(DataError, UserError)
