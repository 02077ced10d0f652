"""The processes of a run, and all that they have to say to one another.

Every process plans the same updates and takes its share of each; gradients are added up
(`gradient_sum`), work that is not training is shared out (`inference.sharing`). One of them, the
main process, has the run folder and the terminal: only it reads and writes there.

All methods are called by all processes, in the same order: each waits for the others. They wait
without a limit of their own (what the main process does alone may take hours); that one of them is
gone is noticed by `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from attuner.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup, Work

Value = TypeVar("Value")


class LostError(RuntimeError):
    """Another process no longer answers."""


class Processes:
    """The processes of a run, as one of them sees them; a `Sharing`.

    Args:
        rank: Number of this process, from 0.
        count: Number of processes.
        group: Of several: torch's group that exchanges what lies in the processor's memory. What
            lies on an accelerator goes through torch's default group.
        hosts: Of several: the machine of each.

    >>> ALONE.is_main, ALONE.once(lambda: "read by the main process, and given to all")
    (True, 'read by the main process, and given to all')
    """

    def __init__(
        self,
        rank: int = 0,
        count: int = 1,
        group: ProcessGroup | None = None,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self.rank = rank
        self.count = count
        self._group = group
        self._hosts = hosts

    @property
    def is_main(self) -> bool:
        """Whether it is this process that reads and writes the run folder, and shows progress."""
        return self.rank == 0

    def name(self, rank: int) -> str:
        """A process in words, with its machine where there are several.

        >>> Processes(0, 2, hosts=("a", "b")).name(1), Processes(0, 2, hosts=("a", "a")).name(1)
        ('Process 1 of 2 (on b)', 'Process 1 of 2')
        """
        place = f" (on {self._hosts[rank]})" if len(set(self._hosts)) > 1 else ""
        return f"Process {rank} of {self.count}{place}"

    def once(self, do: Callable[[], Value]) -> Value:
        """What `do` returns on the main process, which alone does it; the others wait for it."""
        if self.count == 1:
            return do()
        from torch import device
        from torch import distributed as dist

        box = [do() if self.is_main else None]
        with _talking():
            dist.broadcast_object_list(box, src=0, group=self._group, device=device("cpu"))
        return box[0]  # type: ignore[return-value]

    def gathered(self, value: Any) -> list[Any]:
        """What each process gives, in the order of their numbers."""
        if self.count == 1:
            return [value]
        from torch import distributed as dist

        found: list[Any] = [None] * self.count
        with _talking():
            dist.all_gather_object(found, value, group=self._group)
        return found

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        if self.count == 1:
            return number
        import torch
        from torch import distributed as dist

        tensor = torch.tensor(number)
        with _talking():
            dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self._group)
        return int(tensor)

    def wait(self) -> None:
        """Wait until all are here."""
        self.largest(0)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place; returns it."""
        work = self.begin_sum(tensor)
        self.end_sum(work)
        return tensor

    def begin_sum(self, tensor: Tensor) -> Work | None:
        """Begin to add up a tensor over all processes, in place; `end_sum` ends it."""
        if self.count == 1:
            return None
        from torch import distributed as dist

        with _talking():
            work: Work = dist.all_reduce(tensor, group=self._group_for(tensor), async_op=True)
        return work

    def end_sum(self, work: Work | None) -> None:
        """Wait for a sum that was begun."""
        if work is not None:
            with _talking():
                work.wait()

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give the tensors of all processes the values that they have on the main process."""
        if self.count == 1:
            return
        import torch
        from torch import distributed as dist

        with torch.no_grad():
            for tensor in tensors:
                # In a tensor of its own: copying tells the optimizer that a weight has changed.
                values = tensor.detach().clone(memory_format=torch.contiguous_format)
                with _talking():
                    dist.broadcast(values, src=0, group=self._group_for(values))
                if not self.is_main:
                    tensor.copy_(values)

    def require_same(self, what: str, value: Any) -> None:
        """Refuse to go on where processes have different things.

        Raises:
            RunError: This process has another value than the main process.
        """
        wanted = self.once(lambda: value)
        if value != wanted:
            raise RunError(
                f"{what} are others here than those of process 0.",
                "All processes of a run learn from the very same data with the same model.",
                "Give each machine the same files, and the same versions of libraries.",
            )

    def _group_for(self, tensor: Tensor) -> ProcessGroup | None:
        return self._group if tensor.device.type == "cpu" else None


ALONE = Processes()


@contextmanager
def _talking() -> Iterator[None]:
    """Turn what torch says of a connection that is gone into a `LostError`."""
    try:
        yield
    except RuntimeError as error:
        raise LostError(str(error)) from error
