"""`Repository` and `get_full_repo_name`, over `huggingface_hub`'s HTTP functions: no git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attuner.compat.spellings import logger


def get_full_repo_name(
    model_id: str, organization: str | None = None, token: str | bool | None = None
) -> str:
    """`user/model_id`, or `organization/model_id`.

    >>> get_full_repo_name("marian-kde4", organization="my-team")
    'my-team/marian-kde4'
    """
    if organization is not None:
        return f"{organization}/{model_id}"
    from huggingface_hub import HfApi

    return str(HfApi().get_full_repo_name(model_id, token=token))


class Repository:
    """A folder that is a copy of a model repository on the Hub.

    Args:
        local_dir: The folder; made where there is none.
        clone_from: Id or address of the repository, whose files are fetched; where it does not
            exist, `push_to_hub` makes it.
        repo_type: `model`, `dataset` or `space`.
        token: Access token; that of `hf auth login` where not given.
        revision: Branch to fetch and to push to.
        **options: What the old class took besides has no effect, and is said.
    """

    def __init__(
        self,
        local_dir: str | Path,
        clone_from: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> None:
        if options:
            logger.warning("Repository: %s: no effect without git.", ", ".join(options))
        self.local_dir = str(local_dir)
        self.repo_id = None if clone_from is None else "/".join(clone_from.split("/")[-2:])
        self._where: dict[str, Any] = {"repo_type": repo_type, "token": token, "revision": revision}
        self._message = "Upload from attuner.compat.Repository"
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        if self.repo_id is not None:
            self.git_pull()

    def git_pull(self, **_: Any) -> None:
        """Fetch the repository's files into the folder, where it exists."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            snapshot_download(self._id(), local_dir=self.local_dir, **self._where)
        except RepositoryNotFoundError:
            logger.info("%s does not exist yet; push_to_hub makes it.", self.repo_id)

    def git_add(self, pattern: str = ".", **_: Any) -> None:
        """Nothing to do: a push uploads what has changed."""

    def git_commit(self, commit_message: str = "commit files to HF hub") -> None:
        """Keep the message of the next push."""
        self._message = commit_message

    def git_push(self, blocking: bool = True, **_: Any) -> Any:
        """Upload the folder with the message of the last `git_commit`."""
        return self.push_to_hub(self._message, blocking=blocking)

    def push_to_hub(
        self, commit_message: str = "commit files to HF hub", blocking: bool = True, **_: Any
    ) -> Any:
        """Upload the folder as one commit.

        Args:
            commit_message: Its message.
            blocking: Wait for the end. Else a future is returned at once.

        Returns:
            The commit's address, or the future of it.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=self._where["token"])
        api.create_repo(self._id(), repo_type=self._where["repo_type"], exist_ok=True)
        future = api.upload_folder(
            repo_id=self._id(),
            folder_path=self.local_dir,
            commit_message=commit_message,
            repo_type=self._where["repo_type"],
            revision=self._where["revision"],
            ignore_patterns=[".git/*", ".cache/*", "checkpoint-*/*"],
            run_as_future=True,
        )
        return str(future.result().commit_url) if blocking else future

    def _id(self) -> str:
        if self.repo_id is None:
            from attuner.errors import UsageError

            raise UsageError(
                f"Repository({self.local_dir}) was not told which repository it is of.",
                "Expected clone_from, an id such as user/model.",
                "Pass clone_from=get_full_repo_name(NAME).",
            )
        return self.repo_id
