"""Push a run or a model by hand, with progress."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attuner.errors import HubError
from attuner.models.exports import export_format
from attuner.publishing.outbox import Order, Outbox
from attuner.publishing.sender import Sender
from attuner.publishing.states import copy_result, copy_so_far
from attuner.training.checkpoint_folder import checkpoints, step_of
from attuner.training.events import Event, Listener, Noted, Progressed
from attuner.training.folder import RunFolder

if TYPE_CHECKING:
    from attuner.options.output import Publish

_TELL_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        hub_id: The repository.
        url: The commit.
        notes: What the user should know.
    """

    hub_id: str
    url: str
    notes: tuple[str, ...] = ()


def push(
    place: Path,
    hub_id: str | None = None,
    *,
    private: bool | None = None,
    message: str | None = None,
    tag: str | None = None,
    force: bool = False,
    listener: Listener = lambda event: None,
) -> Pushed:
    """Push a run's result, or its state so far, or a model folder.

    Args:
        place: The run folder or model folder.
        hub_id: The repository; what is not given is as the run's recipe says, or named as the run.
        private: Whether a new one can be seen by its owners alone; as the recipe says, or yes.
        message: That of the commit.
        tag: A git tag for the commit.
        force: Write into a repository although it holds something else.
        listener: Is told of progress.

    Raises:
        UserError: There is nothing to push, or the Hub does not allow it.
    """
    run = RunFolder(place)
    if not run.recipe.is_file():
        return _push_model(place, hub_id, private, message, tag, force, listener)
    from attuner.recipe_loading import load_recipe

    options = load_recipe(run.recipe).publish
    given = {"hub_id": hub_id, "private": private, "tag": tag}
    options = options.model_copy(update={k: v for k, v in given.items() if v is not None})
    is_complete = run.model.is_dir()
    found = checkpoints(run.checkpoints)
    if not is_complete and not found:
        raise HubError(
            f"{run.path} has neither a model nor a checkpoint.",
            "Pushed is the model, or the state of the run so far.",
            f"Go on with the run: attuner train --resume {run.path}",
        )
    order = order_of(
        run, options, step=step_of(found[-1]) if found else 0, is_complete=is_complete,
        message=message, force=force,
    )  # fmt: skip
    outbox = Outbox(run.path / "hub")
    with _writing(outbox, run.model), outbox.turn(waits=False):
        put_run(run, outbox, order)
    return _send(outbox, listener)


def push_rest(
    place: Path, *, force: bool = False, listener: Listener = lambda event: None
) -> Pushed:
    """Push what a run could not push.

    Args:
        place: The run folder.
        force: Write into the repository although it holds something else.
        listener: Is told of progress.

    Returns:
        What is on the Hub now, also where nothing was left to push.

    Raises:
        UserError: Nothing was ever to be pushed, or the Hub does not allow it.
    """
    outbox = Outbox(place / "hub")
    if not outbox.is_pending:
        record = outbox.record
        if not record.url:
            raise HubError(
                f"{place} has nothing that waits to be pushed.",
                "What a run could not push is in its folder `hub`.",
                f"To push it as it is: attuner push {place}",
            )
        listener(Noted("Nothing is left to push."))
        return Pushed(record.hub_id, record.url)
    if force:
        with _writing(outbox, place / "model"), outbox.turn(waits=False):
            outbox.revise(force=True)
    return _send(outbox, listener)


@contextmanager
def _writing(outbox: Outbox, model: Path) -> Iterator[None]:
    """Say in words that a run folder cannot be written.

    Raises:
        HubError: It cannot, or there is no room.
    """
    try:
        yield
    except OSError as error:
        raise HubError(
            f"{outbox.path} cannot be written: {error.strerror or error}.",
            "A run is copied there before it is pushed.",
            f"Mend that, or push its model alone: attuner push {model} HUB_ID",
        ) from error


def order_of(
    run: RunFolder,
    options: Publish,
    *,
    epoch: float = 0.0,
    step: int,
    is_complete: bool,
    message: str | None = None,
    force: bool = False,
) -> Order:
    """How a state of a run is pushed.

    Args:
        run: The run.
        options: The recipe's.
        epoch: Passes over the data by then; 0 where that is not known.
        step: The update after which it is.
        is_complete: Whether it is the run's result.
        message: That of the commit, instead of the usual one.
        force: Write into a repository although it holds something else.
    """
    so_far = f"epoch {epoch:g}" if epoch and epoch.is_integer() else f"step {step:,}"
    usual = f"{options.message} {'complete' if is_complete else f'in progress, {so_far}'}"
    return Order(
        hub_id=options.hub_id or run.path.resolve().name,
        private=options.private,
        message=message or usual,
        again=f"attuner push --resume {run.path}",
        elsewhere=f"attuner push {run.path} HUB_ID",
        tag=options.tag if is_complete else None,
        with_checkpoints=options.checkpoints and not is_complete,
        force=force,
        step=step,
        is_complete=is_complete,
    )


def put_run(run: RunFolder, outbox: Outbox, order: Order) -> None:
    """Copy the state that an order is of into the outbox."""
    copy = copy_result if order.is_complete else copy_so_far
    outbox.put(order, lambda place: copy(run, place))


def _push_model(
    folder: Path,
    hub_id: str | None,
    private: bool | None,
    message: str | None,
    tag: str | None,
    force: bool,
    listener: Listener,
) -> Pushed:
    from attuner.models.loading import resolve_model

    if not folder.is_dir():
        raise HubError(
            f"{folder}: no such folder.",
            "Pushed is a run folder, such as runs/NAME, or a model folder.",
        )
    model = resolve_model(str(folder)).resolve()
    made = export_format(model)
    if made is not None:
        raise HubError(
            f"{folder} is an export for {made.title}: it is not pushed.",
            "Pushed are runs and model folders, with weights in safetensors.",
            "Push the model that it was made from; export it again where it is used.",
        )
    name = model.parent.name if model.name == "model" else model.name
    typed = f"attuner push {folder}"
    order = Order(
        hub_id=hub_id or name,
        private=private is not False,
        message=message or "Upload model",
        again=f"{typed} {hub_id}" if hub_id else typed,
        elsewhere=f"{typed} HUB_ID",
        tag=tag,
        force=force,
        model=str(model),
        is_complete=True,
    )
    outbox = Outbox(Path(tempfile.mkdtemp(prefix="attuner-push-")))
    try:
        outbox.put(order, lambda empty: None)
        return _send(outbox, listener)
    finally:
        if outbox.record.url or outbox.record.error:  # else the message names the log in it
            shutil.rmtree(outbox.path, ignore_errors=True)


def _send(outbox: Outbox, listener: Listener) -> Pushed:
    """Push what is in an outbox, and wait for that."""
    sender = Sender(outbox, is_background=False)
    sender.start()
    try:
        sender.wait(float("inf"), telling(listener))
    finally:
        sender.stop()
    record = outbox.record
    for note in record.notes:
        listener(Noted(note))
    return Pushed(record.hub_id, record.url, record.notes)


def telling(listener: Callable[[Event], None]) -> Callable[[int, int], None]:
    """What passes bytes that have gone on to a listener, now and then."""
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_EVERY_SECONDS:
            last = now
            listener(Progressed("pushing, in kB,", done // 1000, total // 1000))

    return tell
