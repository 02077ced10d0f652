"""Becoming one of several processes: what a launcher announces, and whether it is so.

torchrun, `accelerate launch` and MPI start as many processes and tell each its number in
environment variables; accelerate's `PartialState` lets them find one another. Two traps lie there.
Without an accelerator, `accelerate launch --num_processes 2` starts one process, and says nothing;
and processes that are not told to compute on the processor find no backend there: each would
train alone, into the same folder. So what is announced is compared with what is.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from attuner.errors import RunError, StoppedError, UsageError, UserError, first_line
from attuner.training.processes import ALONE, LostError, Processes
from attuner.training.watch import FAILED, LOST, STOPPED, Ending, Watch, connect, describe

_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_OTHER_ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
# Until all processes are there; and for one of them to do something alone, such as reading the
# data, while the others wait. That one is gone is noticed by `watch`, not by waiting.
_TO_FIND_ONE_ANOTHER, _TO_WAIT = timedelta(minutes=10), timedelta(days=7)
# Whoever ends a run's processes may be quicker than the news why.
_NEWS_SECONDS = 1.0
_GO_ON = "Start it again as before, with --resume: it goes on from its last checkpoint."


def announced() -> int:
    """How many processes the launcher says that there are."""
    return next((int(os.environ[name]) for name in _COUNTS if name in os.environ), 1)


def is_main() -> bool:
    """Whether this is the main process, or the only one, by what the launcher says."""
    names = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0) == 0


def is_shown_here(error: UserError | StoppedError) -> bool:
    """Whether it is this process that shows an error.

    What is wrong with the command line or the recipe shows before the processes have met: there the
    first one of each machine speaks for all.
    """
    if isinstance(error, UsageError) and announced() > 1:
        return os.environ.get("LOCAL_RANK", "0") == "0"
    return not error.is_shown_elsewhere


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Be one of the processes that were announced, inside the block.

    When one of them ends before its time, all do; the main process says why.

    Args:
        device: `auto` or `cpu`, as `training.device`.

    Raises:
        RunError: There are not as many as were announced, or one of them has ended.
        StoppedError: One of them was asked to stop.

    >>> with joined("cpu") as processes:
    ...     processes.rank, processes.count, processes.gathered("what this one has found")
    (0, 1, ['what this one has found'])
    """
    _refuse_other_engines()
    if announced() == 1:
        _refuse_one_of_several()
        yield ALONE
        return
    processes, watch = _join(device)
    with watch:
        try:
            with _quiet(processes):
                yield processes
        except BaseException as error:
            shown = _explained(error, watch, processes)
            watch.say(_ending(shown, processes))
            if shown is error:
                raise
            raise shown from error
        watch.say_done()


def computes_on_processor(device: str) -> bool:
    """Whether a run with this `training.device` computes on the processor, here."""
    import torch

    return device == "cpu" or not torch.cuda.is_available()


def require_alone() -> None:
    """Refuse to do what one process does as one of several.

    Raises:
        RunError: A launcher has started several.
    """
    if announced() > 1:
        raise RunError(
            f"Started as one of {announced()} processes.",
            "Only training is shared out among processes.",
            "Start it without torchrun or accelerate launch.",
        )


def thread_note(processes: Processes, num_threads: int) -> str:
    """A line where processors of this machine are left without work; "" else."""
    cores = os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes.count))
    if processes.count == 1 or here * num_threads >= cores:
        return ""
    return (
        f"{here} processes use {here * num_threads} of this machine's {cores} processors: "
        f"torchrun gives each one thread. Set OMP_NUM_THREADS={cores // here}."
    )


def _refuse_one_of_several() -> None:
    """Refuse to be what `accelerate launch` starts without an accelerator: one for several.

    It tells that process where they were to meet, and nothing else of the others.
    """
    # torchrun, which accelerate starts elsewhere, also for one process, says WORLD_SIZE.
    is_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ
    if is_accelerate and {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise RunError(
            "accelerate launch was asked for several processes, and has started one: so it does "
            "where it finds fewer than two accelerators.",
            "Expected as many processes as were asked for.",
            "Type: torchrun --nproc_per_node 2 -m attuner train ..., or accelerate launch "
            "--multi_gpu --num_processes 2 -m attuner train ...; or ask for one process.",
        )


def _refuse_other_engines() -> None:
    for variable, name in _OTHER_ENGINES.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise RunError(
                f"accelerate launch was asked for {name}.",
                "This version trains with the whole model on each process (data parallel).",
                "Leave that option out, or take it out of accelerate's configuration.",
            )


def _join(device: str) -> tuple[Processes, Watch]:
    """Find the other processes.

    Raises:
        RunError: They are not there, or there are others than announced.
    """
    import torch
    from accelerate import PartialState
    from torch import distributed as dist

    wanted = announced()
    on_processor = computes_on_processor(device)
    if not on_processor:
        _require_accelerator_each(torch.cuda.device_count())
    environment = dict(os.environ)  # to which accelerate adds what MPI calls otherwise
    try:
        if not dist.is_initialized():
            PartialState._reset_state()
            PartialState(cpu=on_processor, timeout=_TO_FIND_ONE_ANOTHER)
        count = dist.get_world_size() if dist.is_initialized() else 1
        if count != wanted:
            raise RunError(
                f"{wanted} processes were announced, and there {'is' if count == 1 else 'are'} "
                f"{count}.",
                "Expected each process to find all others.",
                "Start them with: torchrun --nproc_per_node "
                f"{wanted} -m attuner train ...; or unset WORLD_SIZE to train with one.",
            )
        group = dist.new_group(backend="gloo", timeout=_TO_WAIT)
        processes = Processes(dist.get_rank(), count, group)
        hosts = tuple(processes.gathered(socket.gethostname()))
        processes = Processes(dist.get_rank(), count, group, hosts)
        return processes, connect(processes, os.environ.get("MASTER_ADDR", "127.0.0.1"))
    except (RuntimeError, ValueError, OSError) as error:
        os.environ.clear()
        os.environ.update(environment)
        raise RunError(
            f"The {wanted} processes that were announced did not find one another: "
            f"{first_line(error)}",
            "Expected all of them to be started, and each machine to reach the one of process 0.",
            "Start them with torchrun or accelerate launch, on each machine with the same address; "
            "if a machine has several networks, name the one to use: GLOO_SOCKET_IFNAME=eth0",
        ) from error


def _require_accelerator_each(num_accelerators: int) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > num_accelerators:
        raise RunError(
            f"{here} processes were started on this machine, which has {num_accelerators} GPU"
            f"{'' if num_accelerators == 1 else 's'}.",
            "Each process computes on one of its own.",
            f"Start at most {num_accelerators}, or set training.device=cpu.",
        )


@contextmanager
def _quiet(processes: Processes) -> Iterator[None]:
    """Warnings and log lines come from the main process alone."""
    if processes.is_main:
        yield
        return
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _explained(error: BaseException, watch: Watch, processes: Processes) -> BaseException:
    """The error that is shown: where the cause lies in another process, it says so.

    An error that the user can mend is shown by the main process, whichever process met it.
    """
    if isinstance(error, UserError):
        error.is_shown_elsewhere = not processes.is_main and not _is_main_lost(watch)
        return error
    is_lost = isinstance(error, LostError) or _is_of_connection(error)
    is_cut_off = is_lost or isinstance(error, KeyboardInterrupt)
    first = watch.ending_within(_NEWS_SECONDS if is_cut_off else 0.0)
    shown: UserError | StoppedError
    if first is None and is_lost:
        shown = RunError(
            f"The connection between the processes is broken: {first_line(error)}",
            "A run goes on only while all of its processes do.",
            _GO_ON,
        )
    elif first is None or not is_cut_off:
        if isinstance(error, StoppedError):
            error.is_shown_elsewhere = not processes.is_main
        return error
    elif first.kind == STOPPED:
        shown = StoppedError(first.text, first.exit_code)
    elif first.kind == FAILED:
        shown = RunError(describe(first, processes))
    else:
        shown = RunError(
            describe(first, processes),
            "A run goes on only while all of its processes do: the others have ended, too.",
            _GO_ON,
        )
    shown.is_shown_elsewhere = not processes.is_main and not _is_main_lost(watch)
    return shown


def _is_of_connection(error: BaseException) -> bool:
    """Whether torch itself could not reach another process, as where layers are gathered."""
    from torch.distributed import DistError

    is_gloo = isinstance(error, RuntimeError) and "/gloo/" in str(error)
    return is_gloo or isinstance(error, DistError)


def _is_main_lost(watch: Watch) -> bool:
    return watch.first is not None and (watch.first.rank, watch.first.kind) == (0, LOST)


def _ending(error: BaseException, processes: Processes) -> Ending:
    if isinstance(error, KeyboardInterrupt):
        exit_code = error.exit_code if isinstance(error, StoppedError) else 130
        return Ending(processes.rank, STOPPED, str(error) or "Interrupted.", exit_code)
    if isinstance(error, UserError):
        return Ending(processes.rank, FAILED, str(error), error.exit_code)
    text = f"{type(error).__name__}: {first_line(error)}\nIts traceback is among these lines."
    return Ending(processes.rank, FAILED, text)
