"""Where Attuner keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder that `ATTUNER_CACHE` names, or `attuner` in the user's cache."""
    own = os.environ.get("ATTUNER_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "attuner"
