"""A small sound file of every format, which mutations start from."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

PO = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: fr\\n"\n'
    '"Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\n#: a.c:1\n#, fuzzy\n#| msgid "o"\n'
    'msgctxt "é"\nmsgid "one"\nmsgstr "un"\n\nmsgid "%d"\nmsgid_plural "%ds"\nmsgstr[0] "a"\n'
    'msgstr[1] "b"\n\n#~ msgid "x"\n#~ msgstr "y"\n'
)
XLIFF1 = (
    '<?xml version="1.0" encoding="UTF-8"?><xliff version="1.2"><file source-language="en" '
    'target-language="fr"><body><trans-unit id="1"><source>é <x id="1" equiv-text="%s"/></source>'
    '<target state="new">b</target></trans-unit></body></file></xliff>'
)
XLIFF2 = (
    '<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="fr">'
    '<file id="f"><unit id="u"><segment><source>é</source><target>b</target></segment></unit>'
    "</file></xliff>"
)
TMX = (
    '<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header/><body><tu><tuv xml:lang="en">'
    '<seg>a <ph>é</ph></seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu></body></tmx>'
)
TS = (
    '<!DOCTYPE TS><TS version="2.1" language="fr"><context><name>é</name><message numerus="yes">'
    "<source>a</source><translation><numerusform>b</numerusform><numerusform>c</numerusform>"
    "</translation></message></context></TS>"
)
CSV = 'en,fr\n"one, é",un\n"t""wo",deux\n'
JSONL = '{"en": "one é", "fr": ["un", "une"], "catalog": "c"}\n{"en": "two", "fr": "deux"}\n'
RECIPE = """\
task: {name: translation, source: en, target: fr}
model: embedded:en-fr
data:
  train: [a.po, {path: b.csv, columns: {source: en, target: fr}, weight: 0.5}]
  split: {by: catalog, validation: 0.1, test: 8}
training:
  epochs: 3
  learning_rate: 1e-4  # peak
  early_stopping: {patience: 3}
generation: {num_beams: 4}
output: {name: "a run"}
"""


def mo() -> bytes:
    """PO, compiled."""
    from translate.storage.mo import mofile
    from translate.storage.pypo import pofile

    compiled = mofile()
    for unit in pofile.parsestring(PO.encode()).units:
        compiled.addunit(compiled.UnitClass.buildfromunit(unit))
    return bytes(compiled)


def moses() -> bytes:
    """A Moses zip of two lines, many times."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("K.en-fr.en", "one é\ntwo\n" * 9)
        archive.writestr("K.en-fr.fr", "un\ndeux\n" * 9)
    return packed.getvalue()


def parquet() -> bytes:
    """Two rows, one of several references."""
    import pyarrow
    import pyarrow.parquet

    rows = {"en": ["one é", "two"], "fr": [["un", "une"], ["deux"]]}
    packed = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(rows), packed)
    return packed.getvalue()


# By a file's name: its suffix tells the reader.
SAMPLES: dict[str, Callable[[], bytes]] = {
    "a.po": PO.encode,
    "a.mo": mo,
    "b.xlf": XLIFF1.encode,
    "c.xlf": XLIFF2.encode,
    "a.tmx": TMX.encode,
    "a.ts": TS.encode,
    "a.csv": CSV.encode,
    "a.tsv": "en\tfr\none é\tun\n".encode,
    "a.json": lambda: ("[" + JSONL.strip().replace("\n", ",") + "]").encode(),
    "a.jsonl": JSONL.encode,
    "b.jsonl.gz": lambda: gzip.compress(JSONL.encode(), mtime=0),
    "a.zip": moses,
    "a.parquet": parquet,
    "a.txt": "one é\ntwo\n".encode,
    "a.yaml": RECIPE.encode,
}
