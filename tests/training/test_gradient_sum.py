"""An update that processes share is that of one process."""

from __future__ import annotations

from pathlib import Path

import gradients
import pytest
import torch
from gradients import CASES, gradient_of
from safetensors.torch import load_file
from several import output, torchrun

from attuner.training.processes import ALONE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[2, 3])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder with the gradients of each process."""
    folder = tmp_path_factory.mktemp("gradients")
    output(torchrun(request.param, gradients.__file__, folder, folder=folder))
    return [folder / f"{{}}-{rank}.safetensors" for rank in range(request.param)]


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_one_process(found: list[Path], name: str) -> None:
    number, case = list(CASES).index(name), CASES[name]
    alone = gradient_of(case, ALONE)
    for path in found:
        shared = load_file(str(path).format(number))
        assert shared.keys() == alone.keys()
        for what, tensor in shared.items():
            if what == "splits":
                continue
            wanted = alone[what]
            norm, difference = float(wanted.norm()), float((tensor - wanted).norm())
            most = 2e-2 * norm + 1e-5 if case.is_mixed else 1e-6 * max(1.0, norm)
            assert difference <= most, f"{what}: {difference}"


def test_all_processes_have_the_very_same_gradient(found: list[Path]) -> None:
    for number in range(len(CASES)):
        first, *others = (load_file(str(path).format(number)) for path in found)
        for other in others:
            assert all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_cuts_for_memory_s_sake_are_counted_over_all_processes(found: list[Path]) -> None:
    splits = {
        name: float(load_file(str(found[0]).format(number))["splits"])
        for number, name in enumerate(CASES)
    }
    short = "out of memory in one process"
    assert splits[short] > 0
    assert not any(num for name, num in splits.items() if name != short)
