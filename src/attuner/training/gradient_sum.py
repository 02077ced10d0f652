"""The sum of an update's gradients over all processes: data-parallel training.

Each process has the whole model and makes the gradient of its share of an update. Here the shares
are added up, once an update, in buckets that travel while the next ones are filled. torch's
`DistributedDataParallel` does the same out of hooks in the backward pass, and is not used:

- A micro-batch that runs out of memory is cut in two and made anew (`gradient`). DDP would have
  sent a part of the broken gradient by then, and the processes would wait for one another for ever.
- Forward and backward may use bf16 copies of the weights, whose gradients are added up in fp32
  beside the model (`adamw`). DDP's buckets know the weights, and their type, only.
- It wants to be told of weights that have no gradient in an update (a layer that was dropped, a
  process that has no example left), and its forward passes exchange buffers, so that evaluation
  could not be shared out unevenly.

What is given up is that DDP sends while the backward pass still computes. The sum here is the plain
one (not a mean of means): with it the update is that of one process but for the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from attuner.training.sharded_adamw import ShardedAdamW

if TYPE_CHECKING:
    from torch import Tensor, nn

    from attuner.training.adamw import AdamW
    from attuner.training.processes import Processes

# Values of a bucket: large enough for the network, small enough that several are on their way.
_BUCKET = 8 * 2**20


def sum_gradients(
    optimizer: AdamW | ShardedAdamW, numbers: Sequence[float], processes: Processes
) -> list[float]:
    """Let the optimizer of each process hold the sum of all gradients; returns that of the numbers.

    A weight that has no gradient on any process is left without. Shares of gradients are sums
    already.

    Args:
        optimizer: Holds the gradient of this process's share.
        numbers: What else is to be added up, such as the loss of this process's share.
        processes: Who shares.

    >>> from attuner.training.optimizer import build_optimizer
    >>> from attuner.training.processes import ALONE
    >>> optimizer = build_optimizer(torch.nn.Linear(3, 2), learning_rate=0.1)
    >>> sum_gradients(optimizer, [1.5, 2.0], ALONE)  # of one process there is nothing to add
    [1.5, 2.0]
    """
    if processes.count == 1:
        return list(numbers)
    if isinstance(optimizer, ShardedAdamW):
        return processes.sum(torch.tensor(numbers, dtype=torch.float64)).tolist()
    parameters = list(optimizer.trained())
    has_gradient = [optimizer.gradient(parameter) is not None for parameter in parameters]
    mine = torch.tensor([*numbers, *has_gradient], dtype=torch.float64)
    sums = processes.sum(mine).tolist()
    having = sums[len(numbers) :]
    wanted = [parameter for parameter, num in zip(parameters, having, strict=True) if num]
    begun = []
    for bucket in _buckets(wanted):
        values = torch.cat([_flat(optimizer, parameter) for parameter in bucket])
        parts = torch.split(values, [parameter.numel() for parameter in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            optimizer.put_gradient(parameter, part.view_as(parameter))
        begun.append(processes.begin_sum(values))
    for work in begun:
        processes.end_sum(work)
    return sums[: len(numbers)]


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters, in lists with about as many values."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.numel()
        if size >= _BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def _flat(optimizer: AdamW, parameter: nn.Parameter) -> Tensor:
    """A gradient as one row of fp32, zeros where this process has none."""
    gradient = optimizer.gradient(parameter)
    if gradient is None:
        return torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
    return gradient.float().flatten()
