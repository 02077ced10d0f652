"""Read XLIFF 1.2 and 2, TMX and Qt TS: parsed here, entries understood by translate-toolkit.

States of XLIFF 1.2: a target whose `state` is new or needs-..., or whose `state-qualifier` is a
fuzzy match, is fuzzy. `approved` is not looked at: it defaults to "no", few tools write it, and
translate-toolkit's `isfuzzy`, which goes by it, would call most files fuzzy as a whole.
States of XLIFF 2 and TS are those of translate-toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attuner.data.asked import Asked
from attuner.data.languages import check_language, of_sides
from attuner.data.units import Address, State, Unit
from attuner.data.xml_files import named, parse_xml, require_root, stream_xml
from attuner.errors import DataError, MissingExtraError

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# Attributes that say in text what an empty inline element stands for (XLIFF 1.2; XLIFF 2).
_EQUIVALENT = ("equiv-text", "equiv", "disp")
# Inline elements that only comment on a text: XLIFF's <mrk>, and its start and end in XLIFF 2.
_TRANSPARENT = ("mrk", "sm", "em")
# Inline elements whose content is the code itself (TMX 1.4b, XLIFF 1.2), such as `%s` or `<b>`.
_CODE = ("ph", "bpt", "ept", "it", "ut")


class _LostMarkupError(Exception):
    """An inline element has no textual form."""


def read_xliff(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read XLIFF 1.0 to 1.2 and 2.0 to 2.2; a unit is a trans-unit, or a segment.

    Raises:
        DataError: It is not well-formed XLIFF, or in other languages.
        MissingExtraError: translate-toolkit is not installed.
    """
    _need("Reading XLIFF files")
    from translate.storage.xliff import Xliff1Unit
    from translate.storage.xliff2 import Xliff2Unit

    file = str(path)
    root = parse_xml(path, file)
    namespace = require_root(file, root, "xliff", "an XLIFF file")
    if root.get("version", "").startswith("2") or ":2." in (namespace or ""):
        _check(file, root, "srcLang", "source", asked)
        _check(file, root, "trgLang", "target", asked)
        kind, to_state = Xliff2Unit, _xliff2_state
    else:
        for part in root.iter(named(namespace, "file")):
            _check(file, part, "source-language", "source", asked)
            _check(file, part, "target-language", "target", asked)
        kind, to_state = Xliff1Unit, _xliff1_state
    for element in root.iter(named(namespace, kind.rootNode)):
        if element.get("restype") == "x-gettext-domain-header":
            continue
        source = element.find(named(namespace, "source"))
        target = element.find(named(namespace, "target"))
        entry = kind.createfromxmlElement(element)
        entry.namespace = namespace
        unit_id = str(entry.getid() or element.get("id") or "")
        plural = re.search(r"\[(\d{1,3})\]$", unit_id)
        in_plural_group = _is_plural_group(element.getparent())
        address = Address(
            file,
            unit_id,
            element.sourceline,
            int(plural.group(1)) if plural and in_plural_group else None,
            _gettext_context(element, namespace),
            file,
        )
        yield from _text_unit(entry, source, [target], address, to_state(entry, target), asked)


def read_tmx(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read TMX 1.4b in constant memory; several `tuv` in the target language are references.

    Raises:
        DataError: It is not well-formed TMX, or lacks one of the languages.
        MissingExtraError: translate-toolkit is not installed.
    """
    _need("Reading TMX files")
    from translate.storage.tmx import tmxunit

    file = str(path)
    languages: dict[str, None] = {}
    num_source = num_target = number = 0
    for element in stream_xml(path, file, "tmx", "tu"):
        number += 1
        namespace = element.nsmap.get(element.prefix)
        tuvs = element.iterchildren(named(namespace, "tuv"))
        variants = [(_language_of(tuv), tuv) for tuv in tuvs]
        codes = dict.fromkeys(code for code, _ in variants if code)
        languages.update(codes)
        ours, theirs = of_sides(codes, asked.source_language, asked.target_language)
        sources = [tuv for code, tuv in variants if code in ours]
        targets = [tuv for code, tuv in variants if code in theirs]
        num_source += bool(sources)
        num_target += bool(targets)
        if not sources:
            asked.faults.leave_out("no text in the source language")
            continue
        entry = tmxunit.createfromxmlElement(element)
        entry.namespace = namespace
        address = Address(
            file,
            element.get("tuid") or str(number),
            element.sourceline,
            context=entry.getcontext(),
            catalog=file,
        )
        segments = [tuv.find(named(namespace, "seg")) for tuv in targets]
        yield from _text_unit(
            entry, sources[0].find(named(namespace, "seg")), segments, address, None, asked
        )
    for count, code, side in (
        (num_source, asked.source_language, "source"),
        (num_target, asked.target_language, "target"),
    ):
        if number and not count:
            raise DataError(
                f'{file}: no text in "{code}"; the languages of the file are: '
                f"{', '.join(sorted(languages)) or 'none'}.",
                f"The {side} language must be one of these.",
                f"Choose one of them, as {asked.typed(side, 'CODE')}, or give another file.",
            )


def read_ts(path: Path, asked: Asked) -> Iterator[Unit]:
    """Read a Qt Linguist file; every numerus form is a translation of the one source text.

    Raises:
        DataError: It is not a well-formed TS file, or in other languages.
        MissingExtraError: translate-toolkit is not installed.
    """
    _need("Reading Qt TS files")
    from translate.lang.data import qt_plural_tags
    from translate.storage.ts2 import tsunit

    file = str(path)
    root = parse_xml(path, file)
    namespace = require_root(file, root, "TS", "a Qt TS file")
    _check(file, root, "sourcelanguage", "source", asked)
    _check(file, root, "language", "target", asked)
    language = (root.get("language") or "").replace("-", "_").split("_")[0].lower()
    num_forms = len(qt_plural_tags.get(language, ())) or None
    parent, name = None, ""
    for element in root.iter(named(namespace, "message")):
        # Not the toolkit's getcontext: its search costs time in the size of the context.
        if element.getparent() is not parent:
            parent = element.getparent()
            name = parent.findtext(named(namespace, "name")) or ""
        comment = element.findtext(named(namespace, "comment"))
        context = "\n".join(filter(None, [name, comment, element.get("id")]))
        entry = tsunit.createfromxmlElement(element)
        entry.namespace = namespace
        source = element.find(named(namespace, "source"))
        translation = element.find(named(namespace, "translation"))
        state: State = "translated"
        if translation is not None and entry.isobsolete():
            state = "obsolete"
        elif translation is not None and translation.get("type") == "unfinished":
            state = "fuzzy"
        unit_id = element.get("id") or (source.text if source is not None else "") or ""
        line = element.sourceline
        if not entry.hasplural():
            address = Address(file, unit_id, line, None, context, file)
            yield from _text_unit(entry, source, [translation], address, state, asked)
            continue
        forms = (
            translation.findall(named(namespace, "numerusform")) if translation is not None else []
        )
        if num_forms and len(forms) != num_forms and state == "translated":
            asked.faults.add(
                "wrong number of plural forms",
                f"{file}:{line}: plural message has {len(forms)} numerus forms, "
                f"{language} has {num_forms}.",
                "Every plural message needs all forms.",
                "Complete it",
            )
            continue
        for index, form in enumerate(forms or [None]):  # none at all: untranslated
            address = Address(file, unit_id, line, index, context, file)
            yield from _text_unit(entry, source, [form], address, state, asked)


def _text_unit(
    entry: Any, source: Any, targets: list[Any], address: Address, state: State | None, asked: Asked
) -> Iterator[Unit]:
    """The unit of XML elements; none where markup would be lost or there is no source."""
    if source is None:
        asked.faults.add(
            "missing source", f"{address}: no source text.", "Every entry has one.", "Complete it"
        )
        return
    try:
        text = _text(source, entry)
        translations = tuple(_text(target, entry) for target in targets if target is not None)
    except _LostMarkupError:
        asked.faults.leave_out("inline markup")
        return
    unit = asked.unit(address, text, tuple(filter(None, translations)), state or "translated")
    if unit is not None:
        yield unit


def _text(element: Any, entry: Any) -> str:
    """Text as translate-toolkit gives it, with inline elements in their textual form."""
    from translate.misc.xml_helpers import getText, getXMLspaceInherited

    if not len(element):
        return str(getText(element, entry._default_xml_space))
    text = _inline(element)
    if getXMLspaceInherited(element, entry._default_xml_space) == "default":
        text = re.sub(r"[ \t\r\n]+", " ", text).strip(" \t\r\n")
    return text


def _inline(element: Any) -> str:
    pieces = [element.text or ""]
    for child in element:
        if not isinstance(child.tag, str):  # a comment or processing instruction
            pieces.append(child.tail or "")
            continue
        name = child.tag.rpartition("}")[2]
        equivalent = next((child.get(key) for key in _EQUIVALENT if child.get(key)), None)
        if name in _TRANSPARENT or (name in _CODE and (child.text or len(child))):
            pieces.append(_inline(child))
        elif equivalent is not None and not child.text and not len(child):
            pieces.append(equivalent)
        else:
            raise _LostMarkupError
        pieces.append(child.tail or "")
    return "".join(pieces)


def _xliff1_state(entry: Any, target: Any) -> State:
    state = target.get("state", "") if target is not None else ""
    qualifier = target.get("state-qualifier", "") if target is not None else ""
    return (
        "fuzzy"
        if state == "new" or state.startswith("needs-") or "fuzzy" in qualifier
        else "translated"
    )


def _xliff2_state(entry: Any, target: Any) -> State:
    return "fuzzy" if entry.isfuzzy() else "translated"


def _is_plural_group(element: Any) -> bool:
    return element is not None and element.get("restype") == "x-gettext-plurals"


def _gettext_context(element: Any, namespace: str | None) -> str:
    for context in element.iter(named(namespace, "context")):
        if context.get("context-type") == "x-po-msgctxt":
            return context.text or ""
    return ""


def _language_of(tuv: Any) -> str:
    return tuv.get(_XML_LANG) or tuv.get("lang") or ""


def _check(file: str, element: Any, attribute: str, side: str, asked: Asked) -> None:
    check_language(file, element.get(attribute), attribute, side, asked)


def _need(what: str) -> None:
    try:
        import translate.storage.lisa  # noqa: F401 (imports lxml as well)
    except ImportError as error:
        raise MissingExtraError(what, "l10n") from error
