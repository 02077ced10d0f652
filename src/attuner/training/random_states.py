"""Where the random generators of a process stand, and how a checkpoint holds that."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class RandomStates:
    """The states of one process.

    Attributes:
        torch: Those of torch: `torch` (the processor's), `cuda:0`, ...
        python: That of Python, as JSON holds it.
        numpy: That of numpy's global generator, which libraries may draw from, likewise.
    """

    torch: Mapping[str, Tensor]
    python: Any
    numpy: Any


def random_states() -> RandomStates:
    """The states of just now."""
    import torch

    states = {"torch": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    return RandomStates(states, random.getstate(), _numpy_state())


def put_back(states: RandomStates) -> None:
    """Go on from states."""
    import numpy as np
    import torch

    version, internal, gauss = states.python
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(states.numpy)
    torch.set_rng_state(states.torch["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda:{index}" in states.torch:
            torch.cuda.set_rng_state(states.torch[f"cuda:{index}"], index)


def to_tensors(states: Sequence[RandomStates]) -> dict[str, Tensor]:
    """The states of torch, of all processes by name, such as `1/torch`."""
    return {
        f"{rank}/{name}": tensor
        for rank, own in enumerate(states)
        for name, tensor in own.torch.items()
    }


def to_json(states: Sequence[RandomStates]) -> dict[str, Any]:
    """The other states, a list with an item for each process."""
    return {
        "python_random": [own.python for own in states],
        "numpy_random": [own.numpy for own in states],
    }


def from_files(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> list[RandomStates]:
    """The states of all processes.

    Args:
        tensors: As `to_tensors` made them.
        about: What `to_json` made, and perhaps more.

    Raises:
        KeyError, ValueError: They are not complete.
    """
    found = []
    pairs = zip(about["python_random"], about["numpy_random"], strict=True)
    for rank, (python, numpy) in enumerate(pairs):
        prefix = f"{rank}/"
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if "torch" not in own:
            raise KeyError(f"{prefix}torch")
        found.append(RandomStates(own, python, numpy))
    if not found:
        raise ValueError("there are no random states")
    return found


def _numpy_state() -> dict[str, Any]:
    import numpy as np

    state: dict[str, Any] = np.random.get_state(legacy=False)
    inner = {name: np.asarray(value).tolist() for name, value in state["state"].items()}
    return {**state, "state": inner}
