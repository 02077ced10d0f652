"""The process that pushes: `python -m attuner.publishing.worker OUTBOX`.

Training goes on beside it, in a process of its own: neither waits for the other, not even for
Python's lock, and a connection that hangs can be ended with the process.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from attuner.errors import UserError
from attuner.publishing.hub import commit, open_target
from attuner.publishing.outbox import Order, Outbox
from attuner.publishing.pushed_card import card_under
from attuner.publishing.states import files_of, is_obsolete, left_out

# A connection that says nothing for so long is given up; huggingface_hub itself waits for ever.
_TIMEOUT_SECONDS = float(os.environ.get("ATTUNER_HUB_TIMEOUT", "60"))
_PROGRESS_EVERY_SECONDS = 0.5


def main(arguments: list[str]) -> int:
    """Push what is in the outbox, and what is put there meanwhile; returns the exit code."""
    outbox, is_background = Outbox(Path(arguments[0])), "--background" in arguments
    try:
        _limit_waiting()
        with outbox.turn(waits=is_background):
            while (taken := outbox.take()) is not None:
                push_state(outbox, *taken)
                shutil.rmtree(taken[0], ignore_errors=True)
    except UserError as error:
        outbox.note(error=(error.happened, error.expected, error.remedy))
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def push_state(outbox: Outbox, place: Path, order: Order) -> None:
    """Push a state, and note that.

    Raises:
        UserError: It cannot be pushed.
    """
    outbox.note(error=None, notes=())
    outbox.note_progress(0, 0)
    target = open_target(
        order.hub_id, private=order.private, known=outbox.record.hub_id, force=order.force,
        again=order.again, elsewhere=order.elsewhere,
    )  # fmt: skip
    # Noted before anything is written: a commit whose answer is lost is ours all the same.
    outbox.note(hub_id=target.hub_id)
    model = Path(order.model) if order.model else place / "model"
    files = files_of(place, model, with_checkpoints=order.with_checkpoints)
    card, told = card_under(target.hub_id, model, place / "card")
    files |= card
    pickles = left_out(model)
    url, notes = commit(
        target, files, message=order.message, obsolete=is_obsolete, tag=order.tag,
        again=order.again, progress=_Rarely(outbox),
    )  # fmt: skip
    if pickles:
        notes.append(f"Not pushed, as they can run code: {', '.join(pickles)}.")
    outbox.note(
        url=url, message=order.message, step=order.step, is_complete=order.is_complete,
        notes=(*target.notes, *told, *notes),
    )  # fmt: skip


def _limit_waiting() -> None:
    """Give up connections that hang."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    def build() -> Any:
        client = _http.default_client_factory()
        client.timeout = _TIMEOUT_SECONDS
        return client

    set_client_factory(build)


class _Rarely:
    """Notes progress now and then."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_SECONDS or done == total:
            self._last = now
            self._outbox.note_progress(done, total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
