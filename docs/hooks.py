"""What the site has beside the docs' own pages.

Pages that nobody writes: the README as home page, the changelog, the reference of Python names. And
files elsewhere in the repository that pages link to, such as examples. Tables are made fit for
narrow screens; see assets/site.css.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

_TOP = Path(__file__).parents[1]
_COPIED = {"index.md": "README.md", "changes.md": "CHANGELOG.md"}
_MODULES = ("attuner", "attuner.blocks", "attuner.compat")
_WITHOUT_MEMBERS = "    options: {members: false, show_root_heading: false}\n"
_LONG_CELL, _SHORT_CELL = 40, 20  # letters
_UPWARDS = re.compile(r"\]\((\.\./[^)#]+)")


@event_priority(100)  # before the navigation looks for pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages and files."""
    for page, text in (*_copied(), *_reference()):
        files.append(File.generated(config, page, content=text))
    linked = {
        place
        for file in files.documentation_pages()
        for link in _UPWARDS.findall(file.content_string)
        if (place := _outside(link, file))
    }
    for place in sorted(linked):
        files.append(
            File.generated(
                config, place, abs_src_path=str(_TOP / place), inclusion=InclusionLevel.INCLUDED
            )
        )
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links to files outside the docs' folder, as seen from inside: one level less up."""
    return _UPWARDS.sub(
        lambda found: f"]({found[1][3:]}" if _outside(found[1], page.file) else found[0], markdown
    )


def on_page_content(html: str, **_: object) -> str:
    """Say of tables' cells what column they are of, and which of them are short."""
    return re.sub(r"<table>.*?</table>", lambda found: _labelled(found[0]), html, flags=re.S)


def _labelled(table: str) -> str:
    """A table with the names of its columns in its cells; of class `cards` if they are long."""
    columns = [_text(cell) for cell in re.findall(r"<th[^>]*>(.*?)</th>", table)]
    longest = 0

    def row(found: re.Match[str]) -> str:
        names = iter(columns)
        return re.sub(r"<td([^>]*)>(.*?)</td>", lambda cell: labelled(cell, next(names)), found[0])

    def labelled(cell: re.Match[str], name: str) -> str:
        nonlocal longest
        length = len(_text(cell[2]))
        longest = max(longest, length)
        short = ' class="short"' if length <= _SHORT_CELL else ""
        breakable = re.sub(r"<code>.*?</code>", lambda code: _breakable(code[0]), cell[2])
        return f'<td data-column="{name}"{short}{cell[1]}>{breakable}</td>'

    table = re.sub(r"<tr>.*?</tr>", row, table, flags=re.S)
    is_cards = len(columns) > 2 and longest > _LONG_CELL
    return f'<div class="cards">{table}</div>' if is_cards else table


def _breakable(code: str) -> str:
    """Code that may be broken behind dots and brackets rather than within names."""
    return re.sub(r"(?<=\w[.(])(?=\w)", "<wbr>", code)


def _text(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def _outside(link: str, file: File) -> str:
    """The place of what is linked to, from the repository's top, if it is not in the docs."""
    place = os.path.normpath(f"docs/{Path(file.src_uri).parent}/{link}")
    return "" if place.startswith("docs/") or not (_TOP / place).is_file() else place


def _copied() -> Iterator[tuple[str, str]]:
    """Files of the top folder, with links as seen from the docs' folder."""
    for page, name in _COPIED.items():
        yield page, (_TOP / name).read_text(encoding="utf-8").replace("](docs/", "](")


def _reference() -> Iterator[tuple[str, str]]:
    """A page for each module: what it says of itself, then its public names; see mkdocstrings."""
    for module in _MODULES:
        names = sorted(import_module(module).__all__, key=str.casefold)
        directives = "".join(f"\n::: {module}.{name}\n" for name in names)
        page = f"reference/{module.replace('.', '-')}.md"
        yield page, f"# `{module}`\n\n::: {module}\n{_WITHOUT_MEMBERS}{directives}"
