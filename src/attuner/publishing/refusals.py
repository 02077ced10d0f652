"""What the Hub refuses, and what to do, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from attuner.errors import HubError, first_line

_NO_ROOM = re.compile(r"quota|storage limit|exceeded.*storage|storage.*exceeded", re.IGNORECASE)
_LOG_IN = (
    "Log in with `hf auth login`, in a notebook with `from huggingface_hub import notebook_login; "
    "notebook_login()`, or set HF_TOKEN."
)


def no_token(hub_id: str, again: str) -> HubError:
    """The error of one who is not logged in."""
    return HubError(
        f"{hub_id}: there is no token of the Hugging Face Hub here.",
        "Pushing needs a token with the right to write.",
        f"{_LOG_IN}\nThen type: {again}",
    )


def no_token_yet(hub_id: str) -> str:
    """What one who is not logged in reads at the start of a run that is to be pushed."""
    return (
        f"{hub_id}: there is no token of the Hugging Face Hub here. The run goes on; it is pushed "
        f"from the next checkpoint on after you have logged in. {_LOG_IN}"
    )


@contextmanager
def in_words(hub_id: str, again: str) -> Iterator[None]:
    """Turn what goes wrong with the Hub inside the block into words.

    Args:
        hub_id: The repository.
        again: What to type to try again.

    Raises:
        HubError: Something went wrong.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise HubError(
            f"{hub_id} is no name for a repository: {first_line(error)}",
            "Expected letters, digits, `-`, `_` and `.`, such as user/name.",
            "Give another one.",
        ) from error
    except Exception as error:
        found = _refusal(error, hub_id, again)
        if found is None:
            raise
        raise found from error


def _refusal(error: BaseException, hub_id: str, again: str) -> HubError | None:
    """The error in words; None where neither the Hub nor the network is to blame."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

    cause: BaseException | None = error
    while cause is not None:  # an upload's error is inside another one
        if isinstance(cause, HfHubHTTPError):
            said = cause.server_message or first_line(cause)
            return _answer(cause.response.status_code, said.rstrip("."), hub_id, again)
        if isinstance(cause, OfflineModeIsEnabled):
            return HubError(
                f"{hub_id} was not pushed: HF_HUB_OFFLINE keeps Attuner off the network.",
                "Pushing needs the network.",
                f"Unset HF_HUB_OFFLINE, and type: {again}",
            )
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return HubError(
                f"{hub_id}: the Hub cannot be reached: {first_line(cause)}",
                "What is not pushed is kept, and no half of it is on the Hub.",
                f"When the network is back, type: {again}",
            )
        cause = cause.__cause__
    return None


def _answer(status: int, said: str, hub_id: str, again: str) -> HubError:
    """What a status means."""
    if status in (402, 413, 507) or _NO_ROOM.search(said):
        return HubError(
            f"{hub_id}: the Hub has no room for it: {said} ({status}).",
            "All commits count, old ones too; what resuming needs takes three times the model.",
            "Make room in the settings of your account, or push less: publish.checkpoints=false. "
            f"Then type: {again}",
        )
    if status == 401:
        return HubError(
            f"{hub_id}: the Hub does not accept the token: {said} ({status}).",
            "Pushing needs a valid token with the right to write.",
            f"{_LOG_IN}\nThen type: {again}",
        )
    if status in (403, 404):
        return HubError(
            f"{hub_id}: the Hub does not allow it: {said} ({status}).",
            "Expected a token with the right to write there: of the role `write`, or a "
            "fine-grained one that names this user or organisation.",
            "Make one in the settings of your account and log in with it, `hf auth login --force`, "
            f"or choose a repository of your own.\nThen type: {again}",
        )
    if status == 412:
        return HubError(
            f"{hub_id}: someone else has pushed to it at the same time.",
            "A push goes on from the commit that it has seen.",
            f"Type: {again}",
        )
    return HubError(
        f"{hub_id}: the Hub answered {status}: {said}.",
        "What is not pushed is kept, and no half of it is on the Hub.",
        f"Try again later: {again}",
    )
