"""Write a repository of the Hugging Face Hub: one commit a push, so that none is ever half."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from attuner.errors import HubError
from attuner.models.download import Progress
from attuner.publishing.refusals import in_words, no_token

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

# What a repository may hold that was made by hand for this push.
_HARMLESS = {".gitattributes", "README.md"}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A repository that may be written.

    Attributes:
        hub_id: Its full id.
        revision: The commit that comes before.
        names: The files in it.
        notes: What the user should know of it.
        is_taken_over: Whether it holds something else, which is to go.
    """

    hub_id: str
    revision: str
    names: frozenset[str]
    notes: tuple[str, ...] = ()
    is_taken_over: bool = False


def open_target(
    hub_id: str, *, private: bool, known: str, force: bool, again: str, elsewhere: str
) -> Target:
    """Find a repository, or make it.

    Args:
        hub_id: Its id; a bare name is one of the user's own.
        private: Whether a new one can be seen by its owners alone.
        known: The repository that was written before: what is in it is ours.
        force: Take it over although there is something else, which goes.
        again: What to type to try again.
        elsewhere: What to type for another repository.

    Raises:
        HubError: It may not be written, holds other files, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise no_token(hub_id, again)
    api = HfApi()
    with in_words(hub_id, again):
        full = hub_id if "/" in hub_id else f"{api.whoami()['name']}/{hub_id}"
        api.create_repo(full, private=private, exist_ok=True)
        info = api.model_info(full)
    names = frozenset(file.rfilename for file in info.siblings or ())
    others = sorted(names - _HARMLESS)
    if others and known != full and not force:
        more = len(others) - _SHOWN
        raise HubError(
            f"The Hub's repository {full} holds other files: {', '.join(others[:_SHOWN])}"
            + (f" and {more:,} more." if more > 0 else "."),
            "A model is pushed into a repository of its own; nothing is overwritten.",
            f"Choose another one: {elsewhere}\n"
            f"Or overwrite it (its history stays): {again} --force",
        )
    notes: tuple[str, ...] = ()
    if private and info.private is False:
        notes = (f"{full} was there before, and is public: all can read what is pushed.",)
    # Not told by `known`: a push that was forced and has failed has made it ours before.
    return Target(full, str(info.sha), names, notes, is_taken_over=bool(others) and force)


def commit(
    target: Target,
    files: Mapping[str, Path],
    *,
    message: str,
    obsolete: Callable[[str], bool],
    tag: str | None,
    again: str,
    progress: Progress,
) -> tuple[str, list[str]]:
    """Write files into a repository as one commit.

    Args:
        target: The repository.
        files: By their names in it.
        message: That of the commit.
        obsolete: Says by its name which other file in the repository is to go. All but git's own
            go of one that is taken over: a tokenizer or a card of another model would be taken for
            this one's.
        tag: A git tag for the commit.
        again: What to type to try again.
        progress: Is told how much is read for the upload, in bytes.

    Returns:
        The commit's address, and what the user should know.

    Raises:
        HubError: The Hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationDelete, HfApi

    api, notes = HfApi(), []
    others = target.names - files.keys()
    if target.is_taken_over:
        gone = sorted(others - {".gitattributes"})
    else:
        gone = sorted(name for name in others if obsolete(name))
    with in_words(target.hub_id, again):
        done = api.create_commit(
            target.hub_id,
            [
                *_additions(files, progress),
                *(CommitOperationDelete(name, is_folder=False) for name in gone),
            ],
            commit_message=message,
            parent_commit=target.revision,
        )
        if tag is not None:
            notes += _tag(api, target.hub_id, tag, done.oid)
    return str(done.commit_url), notes


def _tag(api: Any, hub_id: str, tag: str, commit_id: str) -> list[str]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_tag(hub_id, tag=tag, revision=commit_id)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        return [f"{hub_id} has a tag {tag} already, which stays where it is."]
    return []


def _additions(files: Mapping[str, Path], progress: Progress) -> list[CommitOperationAdd]:
    """The files, which tell how much of them was read."""
    from huggingface_hub import CommitOperationAdd

    total = sum(path.stat().st_size for path in files.values())
    done: dict[str, int] = {}

    class Counted(CommitOperationAdd):
        """A file of a commit, read through a counter."""

        @contextmanager
        def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
            """Open it, without a bar of its own."""

            def tell(place: int) -> None:
                done[self.path_in_repo] = max(place, done.get(self.path_in_repo, 0))
                progress(sum(done.values()), total)

            with _Counter(Path(str(self.path_or_fileobj)), tell) as file:
                yield file

    return [Counted(name, path) for name, path in sorted(files.items())]


class _Counter(io.FileIO):
    """A file that tells how far it was read."""

    def __init__(self, path: Path, tell: Callable[[int], None]) -> None:
        super().__init__(path)
        self._tell = tell

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        found = super().read(-1 if size is None else size)
        self._tell(self.tell())
        return found or b""
