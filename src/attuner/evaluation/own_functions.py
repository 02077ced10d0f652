"""Find a user's metric where it lies: `my_metrics.py:kappa`, or `package.module:kappa`.

It is code, and finding it runs the file. The names come from the user's own recipe, program or
command line, never from what was fetched.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from attuner.errors import UsageError, first_line, nearest
from attuner.evaluation.own_metrics import OwnMetric

_EXPECTED = (
    "Expected a function in a file, my_metrics.py:kappa, or in what is installed, "
    "package.module:kappa."
)


def find_own(references: Sequence[str]) -> list[OwnMetric]:
    """The functions that references name.

    Raises:
        UsageError: One of them does not lie there, or its file cannot be run.
    """
    return [_find(reference) for reference in references]


def fingerprints(references: Sequence[str]) -> list[dict[str, str]]:
    """Name and SHA-256 of the file of each, wherever it lies; nothing of a file is run.

    Raises:
        UsageError: There is no such file or module.
    """
    found = []
    for reference in references:
        place, name = _parts(reference)
        found.append({"name": name, "sha256": hashlib.sha256(_source(place)).hexdigest()})
    return found


def reference_of(function: Callable[..., Any]) -> str:
    """What names a function of a Python program, so that a recipe can.

    Raises:
        UsageError: It is not at the top of a file, as in a notebook, or a lambda.
    """
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", None) or ""
    if "." in module and getattr(sys.modules.get(module), name, None) is function:
        return f"{module}:{name}"
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        file = None
    if not file or not os.path.isfile(file) or not name.isidentifier():
        raise UsageError(
            f"{name or repr(function)} is not at the top of a file.",
            "A run notes where its metrics lie, so that it can be resumed.",
            'Write it into a file, such as my_metrics.py, or give its name: "my_metrics.py:kappa".',
        )
    return f"{os.path.abspath(file)}:{name}"


def _find(reference: str) -> OwnMetric:
    place, name = _parts(reference)
    source = _source(place)
    module = _run(place, source) if _is_file(place) else _imported(place)
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UsageError(
            f"{place} has no function {name}.",
            _EXPECTED,
            nearest(name, known) if known else "It has no functions.",
        )
    digest = hashlib.sha256(source).hexdigest()
    return OwnMetric(function, f"{Path(place).name if _is_file(place) else place}:{name}", digest)


def _parts(reference: str) -> tuple[str, str]:
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(f"{reference} names no function.", _EXPECTED)
    return place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _source(place: str) -> bytes:
    """The text of a file or module."""
    path = Path(place) if _is_file(place) else _file_of(place)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: {(error.strerror or first_line(error)).lower()}.", _EXPECTED
        ) from error


def _file_of(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # the package around it is not there, or broken
        spec = None
    if spec is None or not spec.origin:
        raise UsageError(f"There is no module {module}.", _EXPECTED)
    return Path(spec.origin)


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise UsageError(
            f"{module} cannot be imported: {type(error).__name__}: {first_line(error)}.", _EXPECTED
        ) from error


def _run(place: str, source: bytes) -> ModuleType:
    """The module of a file; the program that runs already is not run again.

    Not by `importlib`: it would leave bytecode beside the file, and take an old one for a new.
    """
    main = sys.modules.get("__main__")
    main_file = getattr(main, "__file__", None)
    if main is not None and main_file and os.path.realpath(main_file) == os.path.realpath(place):
        return main
    module = ModuleType(f"attuner_own_{Path(place).stem}")
    module.__file__ = place
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        exec(compile(source, place, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        line = getattr(error, "lineno", None)  # of a syntax error
        if line is None:
            frames = traceback.extract_tb(error.__traceback__)
            line = next((f.lineno for f in reversed(frames) if f.filename == place), None)
        raise UsageError(
            f"{place}{f':{line}' if line else ''}: {type(error).__name__}: {first_line(error)}",
            "The file of a metric is run to find it; it can import what is installed.",
            "Mend it.",
        ) from error
    return module
