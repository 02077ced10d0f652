"""Noticing that another process has ended, whatever this one is doing just now.

torch notices it when it next exchanges something; on an accelerator it would wait for ever. So the
processes hold connections of their own, each to the main process, on which nothing is said until
one of them ends. The system closes the connections of a process that is killed; that a machine is
gone shows within 25 seconds, by the system's own probes. No process has to answer in time, so that
none is taken for dead because it is busy.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from attuner.training.processes import LostError, Processes

DONE, FAILED, STOPPED, LOST = "done", "failed", "stopped", "lost"

# The main process has these many seconds to meet the same error itself, which it says better.
_OWN_ERROR_SECONDS = 2.0
# An operation that goes on for longer after all is lost is not waited for.
_MOST_SECONDS = 10.0
_JOIN_SECONDS = 300.0
# Wakes the main thread; whoever does not answer it does not notice it.
# Windows has no SIGURG; there nothing is watched over.
_NEWS = getattr(signal, "SIGURG", signal.SIGINT)
# The system's probes of a connection that is silent: after 10 seconds, then each 5, three times.
_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process has ended.

    Attributes:
        rank: Its number.
        kind: `done`, `failed` (with an error), `stopped` (it was asked to), or `lost`: it said
            nothing, so that it was killed, or its machine is gone.
        text: The error's message.
        exit_code: Its exit code.
    """

    rank: int
    kind: str
    text: str = ""
    exit_code: int = 1


class Watch:
    """Watches over the other processes inside a `with` block.

    When one ends that is not done, a `LostError` is raised in the main thread; should that not
    react, because it is in an operation that does not come back, this process is ended.

    Args:
        processes: The processes.
        links: A connection to each process that this one is to listen to, by its number.

    Attributes:
        first: How the first process ended that was not done; None while all is well.
    """

    def __init__(self, processes: Processes, links: Mapping[int, socket.socket]) -> None:
        self.first: Ending | None = None
        self._processes = processes
        self._links = dict(links)
        self._is_known = threading.Event()
        self._is_left = threading.Event()
        self._all_ended = threading.Event()
        self._done: set[int] = set()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, handler in ((_NEWS, self._raise), (signal.SIGTERM, self._terminate)):
                self._handlers[number] = signal.signal(number, handler)
        threading.Thread(target=self._listen, name="attuner-watch", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_left.set()
        for link in self._links.values():
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for number, before in self._handlers.items():
            if error is None or number != signal.SIGTERM:  # there is something yet to be said
                signal.signal(number, before)

    def say(self, ending: Ending) -> None:
        """Tell the others how this process ends."""
        self._is_left.set()
        self._pass_on(ending)

    def say_done(self) -> None:
        """Say that this process is done, and wait until all are.

        Were one gone before, another that still takes in what it has sent would take it for lost.
        """
        done = Ending(self._processes.rank, DONE)
        self._is_left.set()
        if self._processes.is_main:
            self._all_ended.wait()
            self.say(done)
        else:
            self.say(done)
            self._all_ended.wait()

    def ending_within(self, seconds: float) -> Ending | None:
        """How the first process ended that was not done, if that is known in so many seconds."""
        self._is_known.wait(seconds)
        return self.first

    def _listen(self) -> None:
        """Read what the others say, until there is nobody left."""
        unread = dict.fromkeys(self._links, b"")
        with selectors.DefaultSelector() as selector:
            for rank, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    rank = key.data
                    data = _read(self._links[rank])
                    *lines, unread[rank] = (unread[rank] + data).split(b"\n")
                    for line in lines:
                        self._take(Ending(**json.loads(line)))
                    if not data:
                        selector.unregister(self._links[rank])
                        self._take(Ending(rank, LOST))

    def _take(self, ending: Ending) -> None:
        if ending.kind == DONE:
            self._done.add(ending.rank)
            if self._done == self._links.keys():
                self._all_ended.set()
        elif self.first is None and ending.rank not in self._done:
            self.first = ending
            self._is_known.set()
            self._all_ended.set()
            if self._processes.is_main:
                self._pass_on(ending)
            if not self._is_left.is_set():
                threading.Thread(target=self._end_this_one, args=[ending], daemon=True).start()

    def _end_this_one(self, ending: Ending) -> None:
        if ending.kind != LOST and self._is_left.wait(_OWN_ERROR_SECONDS):
            return
        signal.pthread_kill(threading.main_thread().ident or 0, _NEWS)
        if not self._is_left.wait(_MOST_SECONDS):
            print(describe(ending, self._processes), file=sys.stderr, flush=True)
            os._exit(ending.exit_code)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        """Answer the watching thread's signal."""
        if not self._is_left.is_set():
            raise LostError("another process has ended")

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """Answer SIGTERM where the run does not: a launcher ends all as soon as one has ended."""
        if not self._is_left.is_set() and self.first is None:
            raise KeyboardInterrupt
        last_words = threading.Timer(_OWN_ERROR_SECONDS, os._exit, [128 + number])
        last_words.daemon = True
        last_words.start()

    def _pass_on(self, ending: Ending) -> None:
        line = json.dumps(asdict(ending)).encode() + b"\n"
        for rank, link in self._links.items():
            if rank != ending.rank:
                with suppress(OSError):  # it is gone, too
                    link.sendall(line)


def describe(ending: Ending, processes: Processes) -> str:
    """How another process has ended, in words."""
    name = processes.name(ending.rank)
    if ending.kind == LOST:
        return f"{name} has ended without a word: it was killed, or its machine is gone."
    return ending.text if ending.kind == STOPPED else f"{name}: {ending.text}"


def connect(processes: Processes, main_address: str) -> Watch:
    """Connect each process with the main one.

    Args:
        processes: The processes, of which all call this.
        main_address: Where the main process's machine is reached.

    Raises:
        OSError: There is no way to it.
    """
    listener = _listener() if processes.is_main else None
    port, token = processes.once(
        lambda: (listener.getsockname()[1] if listener else 0, secrets.token_bytes(16))
    )
    if listener is None:
        link = socket.create_connection((main_address, port), timeout=_JOIN_SECONDS)
        link.sendall(token + processes.rank.to_bytes(4))
        links = {0: link}
    else:
        with listener:
            links = _accepted(listener, token, processes.count)
    for link in links.values():
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if hasattr(socket, name):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Watch(processes, links)


def _listener() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _accepted(
    listener: socket.socket, token: bytes, num_processes: int
) -> dict[int, socket.socket]:
    """A connection to each other process; whoever does not know the token is turned away."""
    links: dict[int, socket.socket] = {}
    end = time.monotonic() + _JOIN_SECONDS
    while len(links) < num_processes - 1:
        listener.settimeout(max(0.0, end - time.monotonic()))
        link, _ = listener.accept()
        link.settimeout(_OWN_ERROR_SECONDS)
        said = b""
        with suppress(OSError):
            while len(said) < len(token) + 4 and (data := link.recv(64)):
                said += data
        if hmac.compare_digest(said[: len(token)], token):
            links[int.from_bytes(said[len(token) :])] = link
        else:
            link.close()
    return links


def _read(link: socket.socket) -> bytes:
    try:
        return link.recv(4096)
    except OSError:
        return b""
