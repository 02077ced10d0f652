"""Whole files of every format, of sound structure and hostile content."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fuzz import catalogs, recipes, tables, xml

# By the suffixes of `samples.SAMPLES`; two of its names share one.
_GRAMMARS: dict[str, Callable[[Random], bytes]] = {
    "po": catalogs.po,
    "mo": catalogs.mo,
    "xlf": xml.xliff1,
    "tmx": xml.tmx,
    "ts": xml.ts,
    "csv": lambda random: tables.delimited(random, random.choice(",;")),
    "tsv": lambda random: tables.delimited(random, "\t"),
    "json": tables.json_array,
    "jsonl": tables.jsonl,
    "jsonl.gz": tables.gz,
    "txt": tables.txt,
    "zip": tables.moses_zip,
    "parquet": tables.parquet,
    "yaml": recipes.recipe,
}


def generate(name: str, random: Random) -> bytes:
    """The content of a file of this name."""
    grammar = xml.xliff2 if name == "c.xlf" else _GRAMMARS[name.split(".", 1)[1]]
    return grammar(random)
