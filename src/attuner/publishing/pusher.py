"""Push a run to the Hub while it goes: a listener that hears of each checkpoint.

It copies what is new into the run's outbox, which takes no time, and lets another process push it.
Nothing that goes wrong there reaches the run but as a line to read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attuner.errors import HubError, first_line
from attuner.publishing.outbox import Outbox
from attuner.publishing.pushing import order_of, put_run, telling
from attuner.publishing.refusals import no_token_yet
from attuner.publishing.sender import Sender
from attuner.training.events import (
    Begun,
    Delivered,
    Event,
    Listener,
    Noted,
    Planned,
    Saved,
    Stepped,
)
from attuner.training.folder import RunFolder

if TYPE_CHECKING:
    from attuner.recipe import Publish
    from attuner.training.result import Run

logger = logging.getLogger(__name__)


class Pusher:
    """A listener that pushes a run where its recipe says so; use it in a `with` block.

    At the end of the block it waits for the last push, if the run came to its end.

    Args:
        listeners: Are told what became of the pushes.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners
        self._run: RunFolder | None = None
        self._options: Publish | None = None
        self._sender: Sender | None = None
        self._epoch = 0.0
        self._url = ""  # of the last push that was said
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sender is None or self._options is None:
            return
        try:
            if error is None:
                self._wait(self._options.wait_seconds)
            elif self._sender.outbox.is_pending:
                self._say_what_is_left()
        except KeyboardInterrupt:  # the run is over: only the waiting ends
            self._say_what_is_left()
        except Exception as fault:
            self._say_failed(fault)
        finally:
            self._sender.stop()

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        try:
            match event:
                case Begun():
                    self._begin(event)
                case Planned():
                    self._epoch = 0.0
                case Stepped():
                    self._epoch = event.epoch
                    self._look()
                case Saved():
                    self._push(event.folder.parent.parent, event.step, is_complete=False)
                case Delivered():
                    self._push(event.folder, 0, is_complete=True)
        except Exception as error:  # whatever it is, the run goes on
            self._say_failed(error)

    def with_url(self, run: Run) -> Run:
        """The run's result, with the commit of its model on the Hub."""
        if self._sender is None:
            return run
        outbox = self._sender.outbox
        is_there = outbox.record.is_complete and not outbox.is_pending
        return replace(run, hub_url=outbox.record.url) if is_there else run

    def _push(self, folder: Path, step: int, *, is_complete: bool) -> None:
        """Have the state of just now pushed."""
        run = RunFolder(folder)
        if self._run != run or self._options is None or self._sender is None:
            return
        self._look()
        self._say_pushed()
        if is_complete:
            # What is under way is of yesterday; what it has uploaded so far is not lost.
            self._sender.stop()
        order = order_of(run, self._options, epoch=self._epoch, step=step, is_complete=is_complete)
        put_run(run, self._sender.outbox, order)
        self._sender.start()

    def _begin(self, event: Begun) -> None:
        """Get ready where this run is to be pushed; of several seeds, the result alone is."""
        run, options = RunFolder(event.folder), event.recipe.publish
        is_one_of_seeds = self._run is not None and self._run.path == run.path.parent
        if options.hub_id is None or is_one_of_seeds:
            return
        self._run, self._options = run, options
        self._sender = Sender(Outbox(run.path / "hub"), is_background=True)
        self._url = self._sender.outbox.record.url
        from huggingface_hub import get_token

        if not get_token():
            self._say(no_token_yet(options.hub_id))

    def _look(self) -> None:
        """Say what became of the last push, and begin the next one if something has come."""
        if self._sender is None:
            return
        try:
            if self._sender.ended():
                self._say_pushed()
                if self._sender.outbox.is_pending:
                    self._sender.start()
        except HubError as error:
            self._say(f"Not pushed yet; the run goes on. {error}")

    def _wait(self, seconds: float) -> None:
        """Wait for the last push, and say what became of it."""
        assert self._run is not None
        assert self._sender is not None
        try:
            self._sender.wait(seconds, telling(self.tell))
        except HubError as error:
            self._say(f"Not pushed: {error}")
            return
        if self._sender.outbox.is_pending:
            self._say_what_is_left()
        else:
            self._say_pushed()

    def _say_pushed(self) -> None:
        assert self._sender is not None
        record = self._sender.outbox.record
        if not record.url or record.url == self._url:
            return
        self._url = record.url
        for note in record.notes:
            self._say(note)
        self.tell(Noted(f"Pushed: {record.message} ({record.url})"))

    def _say_what_is_left(self) -> None:
        assert self._run is not None
        self._say(
            "The last state of the run is not on the Hub. Push it with: "
            f"attuner push --resume {self._run.path}"
        )

    def _say_failed(self, error: Exception) -> None:
        logger.debug("pushing failed", exc_info=True)
        self._say(f"Pushing to the Hub failed: {first_line(error)}. The run goes on.")

    def _say(self, text: str) -> None:
        """Say something once."""
        if text not in self._said:
            self._said.add(text)
            self.tell(Noted(text))

    def tell(self, event: Event) -> None:
        """Tell the other listeners."""
        for listener in self.listeners:
            listener(event)
