"""Parse XML safely: no entities, no network, errors with the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attuner.data.textfiles import open_bytes, read_bytes
from attuner.errors import DataError

_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


def parse_xml(path: Path, file: str) -> Any:
    """The root element of a file.

    Raises:
        DataError: It is not well-formed, or declares or uses entities.
    """
    from lxml import etree

    try:
        root = etree.fromstring(read_bytes(path), etree.XMLParser(**_SAFE))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _xml_error(file, error) from error
    _refuse_entities(file, root)
    return root


def stream_xml(path: Path, file: str, root_name: str, name: str) -> Iterator[Any]:
    """Elements called `name`, each forgotten when the next is asked for.

    Raises:
        DataError: The file is not well-formed, has another root, or declares or uses entities.
    """
    from lxml import etree

    with open_bytes(path) as opened:
        try:
            events = etree.iterparse(opened, events=("start", "end"), **_SAFE)
            _, root = next(events, (None, None))
            if root is None:
                raise _not_well_formed(file, 1, "it is empty")
            require_root(file, root, root_name, f"a {root_name.upper()} file")
            _refuse_entities(file, root)
            for event, element in events:
                if event == "end" and element.tag.rpartition("}")[2] == name:
                    for entity in element.iter(etree.Entity):
                        raise _entity_error(f"{file}:{entity.sourceline}", entity.name)
                    yield element
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
        except (etree.XMLSyntaxError, ValueError) as error:
            raise _xml_error(file, error) from error


def require_root(file: str, root: Any, name: str, what: str) -> str | None:
    """The namespace of a document.

    Raises:
        DataError: Its root element is not `name`.
    """
    tag = root.tag.rpartition("}")[2]
    if tag != name:
        raise DataError(
            f"{file}: not {what}: its root element is <{tag}>.",
            f"The root element of the format is <{name}>.",
            "Give the file the suffix of its format.",
        )
    namespace: str | None = root.nsmap.get(root.prefix)
    return namespace


def named(namespace: str | None, name: str) -> str:
    """Name of an element as lxml wants it, in Clark notation."""
    return f"{{{namespace}}}{name}" if namespace else name


def _refuse_entities(file: str, root: Any) -> None:
    """Entities can hide text, read local files and fill the memory; catalogs need none."""
    from lxml import etree

    subset = root.getroottree().docinfo.internalDTD
    for entity in subset.iterentities() if subset is not None else ():
        raise _entity_error(file, entity.name)
    for entity in root.iter(etree.Entity):
        raise _entity_error(f"{file}:{entity.sourceline}", entity.name)


def _entity_error(where: str, name: str) -> DataError:
    return DataError(
        f"{where}: entity `{name}` is declared or used.",
        "For safety, XML is read without entities other than &amp; &lt; &gt; &quot; &apos;",
        "Replace it by its text.",
    )


def _xml_error(file: str, error: Exception) -> DataError:
    line = getattr(error, "lineno", None) or 1
    what = getattr(error, "msg", None) or str(error)
    return _not_well_formed(file, line, re.sub(r", line \d+, column \d+$", "", what))


def _not_well_formed(file: str, line: int, what: str) -> DataError:
    return DataError(
        f"{file}:{line}: not well-formed XML: {what}.",
        "The whole file must be XML in the encoding that it declares.",
        "Export it again, or check it with: xmllint --noout",
    )
