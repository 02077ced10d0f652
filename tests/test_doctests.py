"""The examples in the docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

import attuner

MODULES = [
    module.name
    for module in pkgutil.walk_packages(attuner.__path__, "attuner.")
    if module.name != "attuner.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
