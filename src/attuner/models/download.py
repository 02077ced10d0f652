"""Fetch a repository of the Hugging Face Hub into its cache, from which it is taken offline, too.

The token is that of `hf auth login` or HF_TOKEN: it stands in no recipe and no manifest.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attuner.errors import HubError, first_line

# Is told of bytes: done, total.
Progress = Callable[[int, int], None]


def download(
    hub_id: str,
    *,
    revision: str | None = None,
    allow: Sequence[str],
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """The local snapshot of a model repository.

    Args:
        hub_id: Its id.
        revision: Branch, tag or commit.
        allow: Patterns of the files that are wanted; `*` stands for slashes, too.
        ignore: Patterns of those that are not.
        progress: Is told how much is there; without it huggingface_hub shows bars of its own.

    Raises:
        HubError: It is neither there nor in the cache, may not be read, or does not arrive.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(allow),
                ignore_patterns=list(ignore),
                tqdm_class=None if progress is None else _bar(progress),
            )
        )
    except HFValidationError as error:
        raise HubError(
            f"{hub_id}: {first_line(error)}", "An id is a name of yours or of others: user/name."
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"The Hub's repository {hub_id} has no revision {revision}.",
            "A revision is a branch, a tag or a commit.",
            f"Choose one of those listed by: hf repos tag list {hub_id}",
        ) from error
    except LocalEntryNotFoundError as error:
        raise _nowhere(hub_id, constants.HF_HUB_OFFLINE) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise HubError(
                f"The Hub has no repository {hub_id} that you may read ({type(error).__name__}).",
                "Expected the id of a public one, or of a private one and a token that may read "
                "it.",
                "Check the id; log in with: hf auth login",
            ) from error
        raise HubError(
            f"{hub_id}: the Hub answered {status}: {error.server_message or first_line(error)}",
            "Expected the files of the repository.",
            "Try again later: what has arrived is kept.",
        ) from error
    except (HTTPError, OSError) as error:
        raise HubError(
            f"{hub_id} did not arrive as a whole: {first_line(error)}",
            "Expected the files of the repository.",
            "Try again: what has arrived is kept.",
        ) from error


def _nowhere(hub_id: str, is_offline: bool) -> HubError:
    if is_offline:
        return HubError(
            f"{hub_id} is not in the cache, and HF_HUB_OFFLINE keeps Attuner off the network.",
            "Offline is used what was fetched before, at the same revision.",
            "Unset HF_HUB_OFFLINE once, or give a folder.",
        )
    return HubError(
        f"{hub_id} is not in the cache, and the Hub cannot be reached.",
        "A repository of the Hub is fetched on first use, and kept in a cache.",
        "Check the network, or download it where there is one, and give its folder.",
    )


def _bar(progress: Progress) -> type[Any]:
    """What takes the place of huggingface_hub's bars: one of them counts all bytes."""
    from tqdm.auto import tqdm

    lock = threading.Lock()  # files arrive in several threads

    class Bar(tqdm):  # type: ignore[misc]
        """A bar that nobody sees."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO()})
            self._counts = self.unit == "B" and "transfer" not in (self.desc or "").lower()

        def display(self, *args: Any, **options: Any) -> bool:
            """Show nothing."""
            return True

        def update(self, n: float | None = 1) -> bool | None:
            """Pass on how much there is."""
            shown: bool | None = super().update(n)
            if self._counts:
                with lock:
                    progress(int(self.n), int(self.total or 0))
            return shown

    return Bar
