"""The docs' site is built without a warning, fetches nothing from elsewhere, and lacks nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# What a browser fetches by itself; a link (`a href`) is only followed by a reader.
_FETCHED = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "link": "href",
    "object": "data", "script": "src", "source": "src", "video": "src",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class Read(HTMLParser):
    """What a page has: addresses that are fetched, links of its navigation, classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.navigation: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        classes = found.get("class", "").split()
        self.classes.update(classes)
        if tag in _FETCHED:
            self.fetched += [found.get(_FETCHED[tag], ""), *found.get("srcset", "").split()]
        if tag == "a" and "md-nav__link" in classes:
            self.navigation.add(found["href"])


def outside(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"(\w+:)?//", address)]


def addresses() -> set[str]:
    """Where the site has the pages of the docs' folder."""
    return {f"{p.relative_to(DOCS).with_suffix('').as_posix()}/" for p in DOCS.rglob("*.md")}


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for page in pages:
        read = Read(page.read_text(encoding="utf-8"))
        assert read.fetched, page
        assert not outside(read.fetched), page
        # Material's script fetches what draws these, and facts about a repository.
        assert not read.classes & {"mermaid", "md-source"}, page
    for sheet in site.rglob("*.css"):
        found = re.findall(r"""(?:url\(|@import)\s*["']?([^"')]+)""", sheet.read_text("utf-8"))
        assert not outside(found), sheet


@pytest.mark.slow
def test_each_page_has_a_place_in_the_navigation(site: Path) -> None:
    found = Read((site / "index.html").read_text(encoding="utf-8")).navigation
    assert addresses() <= found


@pytest.mark.slow
def test_each_page_is_found_by_the_search(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"] for entry in index["docs"]}
    assert {"", "changes/", *addresses()} <= found


@pytest.mark.slow
@pytest.mark.parametrize("module", ["attuner", "attuner.blocks", "attuner.compat"])
def test_the_reference_has_all_public_names(site: Path, module: str) -> None:
    page = site / "reference" / module.replace(".", "-") / "index.html"
    html = page.read_text(encoding="utf-8")
    for name in import_module(module).__all__:
        assert f'id="{module}.{name}"' in html, name


def test_the_scanner_sees_what_is_fetched() -> None:
    text = '<a href="https://a.example/"><img src="//b.example/x.png"><link href="c.css">'
    assert outside(Read(text).fetched) == ["//b.example/x.png"]
