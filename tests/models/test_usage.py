from __future__ import annotations

from pathlib import Path

import pytest

from attuner.errors import ModelError
from attuner.models.usage import Usage, read_usage, write_usage


def test_a_folder_remembers_how_to_use_it(tmp_path: Path) -> None:
    assert read_usage(tmp_path) == Usage()
    usage = Usage(prefix="résume : ", whole_texts=True)
    write_usage(tmp_path, usage)
    assert read_usage(tmp_path) == usage


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "attuner.json").write_text('{"prefix": "a", "unheard_of": 1}')
    assert read_usage(tmp_path) == Usage(prefix="a")


def test_a_value_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "attuner.json").write_text('{"whole_texts": "yes"}')
    with pytest.raises(ModelError) as caught:
        read_usage(tmp_path)
    assert str(caught.value) == (
        f'{tmp_path}/attuner.json: whole_texts is "yes".\n'
        "Expected a value such as false.\n"
        "Copy the file again from the run that made the model, or delete it."
    )
