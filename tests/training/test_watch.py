"""A process that ends is noticed by the others, whatever they do."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from attuner.training import watch
from attuner.training.processes import LostError, Processes
from attuner.training.watch import DONE, FAILED, LOST, STOPPED, Ending, Watch, describe

TWO = Processes(0, 2, hosts=("a", "a"))


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_OWN_ERROR_SECONDS", 0.05)
    monkeypatch.setattr(watch, "_MOST_SECONDS", 0.2)


def pair() -> tuple[Watch, Watch, socket.socket]:
    """The watch of the main process, that of another, and the other's end of their connection."""
    ours, theirs = socket.socketpair()
    other = Processes(1, 2, hosts=("a", "a"))
    return Watch(TWO, {1: ours}), Watch(other, {0: theirs}), theirs


def wait(seconds: float = 5.0) -> None:
    """Work on, in small pieces."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def test_a_process_that_is_killed_ends_the_work_of_another() -> None:
    ours, _, their_end = pair()

    def work() -> None:
        with ours:
            their_end.close()  # as the system does
            wait()

    with pytest.raises(LostError):
        work()
    assert ours.first == Ending(1, LOST)


@pytest.mark.parametrize("kind", [FAILED, STOPPED])
def test_an_ending_with_a_message_ends_the_work_of_another(kind: str) -> None:
    ours, theirs, _ = pair()

    def work() -> None:
        with ours:
            theirs.say(Ending(1, kind, "No such file.", 2))
            wait()

    with pytest.raises(LostError):
        work()
    assert ours.first == Ending(1, kind, "No such file.", 2)


def test_processes_that_are_done_wait_for_one_another() -> None:
    ours, theirs, their_end = pair()
    with ours:
        theirs.say(Ending(1, DONE))
        their_end.close()
        wait(0.3)
        ours.say_done()
    assert ours.first is None


def test_a_process_that_does_not_react_is_ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    ours, _, their_end = pair()
    with ours:
        signal.signal(watch._NEWS, signal.SIG_IGN)  # as if an operation never came back
        their_end.close()
        wait(0.5)
    assert codes == [1]
    assert capfd.readouterr().err == f"{describe(Ending(1, LOST), TWO)}\n"


def test_signals_are_answered_as_before_when_the_block_is_over() -> None:
    ours, _, their_end = pair()
    numbers: tuple[int, ...] = (signal.SIGTERM, watch._NEWS)
    before = [signal.getsignal(number) for number in numbers]
    with ours:
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    their_end.close()


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (
            Ending(1, LOST),
            "Process 1 of 2 has ended without a word: it was killed, or its machine is gone.",
        ),
        (Ending(1, FAILED, "No such file."), "Process 1 of 2: No such file."),
        (Ending(1, STOPPED, "Interrupted by SIGTERM."), "Interrupted by SIGTERM."),
    ],
)
def test_endings_in_words(ending: Ending, text: str) -> None:
    assert describe(ending, TWO) == text


def in_threads(*work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=do) for do in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_strangers_are_turned_away() -> None:
    token = b"0123456789abcdef"
    listener = watch._listener()
    port = listener.getsockname()[1]
    links: dict[int, socket.socket] = {}

    def connect(said: bytes) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", port))
        link.sendall(said)
        return link

    kept = []
    with listener:
        kept.append(connect(b"x" * 20))
        in_threads(
            lambda: links.update(watch._accepted(listener, token, 2)),
            lambda: kept.append(connect(token + (1).to_bytes(4))),
        )
    assert list(links) == [1]
    assert kept[0].recv(1) == b""
    for link in (*kept, *links.values()):
        link.close()
