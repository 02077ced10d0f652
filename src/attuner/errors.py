"""Errors that a user can meet, and how they read.

    UserError                 exit 1: the work could not be done
     ├─ UsageError            exit 2: the command line is wrong
     │   └─ RecipeError       exit 2: the recipe is wrong (all its faults at once)
     ├─ DataError             a data file cannot be used as it is
     ├─ ModelError            a checkpoint cannot be used as it is
     ├─ RunError              a run folder cannot be written or resumed
     ├─ ExportError           an export cannot be written, or is worse than its model
     ├─ HubError              a repository of the Hub cannot be written or read
     └─ MissingExtraError     an optional dependency is not installed

    StoppedError              exit 130 (Ctrl-C) or 143 (SIGTERM): a run was asked to stop. It is a
                              KeyboardInterrupt, so that no `except Exception` goes on after it

Everything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONGEST_LINE = 1000
_LINE_END = 300
# What files hold can end up in a message: controls that would steer the terminal (all but tab and
# line feed), halves of surrogate pairs, which cannot be written, and what turns the text around.
_UNSHOWN = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class UserError(Exception):
    """An error that the user can mend alone.

    Args:
        happened: What happened, with `file:line` and the value seen.
        expected: What was expected.
        remedy: What to type or change.

    Attributes:
        exit_code: That of the command.
        is_shown_elsewhere: Whether another process of the run shows it.
    """

    exit_code = 1
    is_shown_elsewhere = False

    def __init__(self, happened: str, expected: str = "", remedy: str = "") -> None:
        self.happened = shown(happened)
        self.expected = shown(expected)
        self.remedy = shown(remedy)
        parts = (self.happened, self.expected, self.remedy)
        super().__init__("\n".join(part for part in parts if part))


class UsageError(UserError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """The recipe has faults; the message lists all of them."""


class DataError(UserError):
    """A data file is missing, broken, or does not hold what was asked for."""


class ModelError(UserError):
    """A checkpoint is missing, incomplete, or cannot do what was asked for."""


class RunError(UserError):
    """A run folder is taken, full, or cannot be resumed."""


class ExportError(UserError):
    """An export cannot be written, or is worse than the model that it was made from."""


class HubError(UserError):
    """The Hub, or the way there, does not allow what was asked for."""


class MissingExtraError(UserError):
    """An optional dependency is needed: names the install command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the optional dependencies of attuner[{extra}].",
            remedy=f'Install them with: pip install "attuner[{extra}]"',
        )


class StoppedError(KeyboardInterrupt):
    """A run was asked to stop; the message says how to go on with it.

    Args:
        message: What was done, and what to type.
        exit_code: As shells have it: 128 and the number of the signal.

    Attributes:
        is_shown_elsewhere: Whether another process of the run shows it.
    """

    is_shown_elsewhere = False

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def shown(text: str) -> str:
    r"""A text as a terminal can show it: without control characters, long lines shortened amid.

    >>> print(shown("\x1b[2J caf\ud800"))
    \x1b[2J caf\ud800
    """
    text = _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], text)
    return "\n".join(
        line
        if len(line) <= _LONGEST_LINE
        else f"{line[: _LONGEST_LINE - _LINE_END]}...{line[-_LINE_END:]}"
        for line in text.split("\n")
    )


def first_line(error: BaseException) -> str:
    r"""The first line of a foreign error's message, or its kind where it says nothing.

    >>> first_line(ValueError("\nbroken\nat 3")), first_line(KeyError())
    ('broken', 'KeyError')
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, then list them all.

    >>> nearest("traning", ["training", "data"])
    'Did you mean "training"? Known: data, training.'
    >>> nearest("xyz", ["training", "data"])
    'Known: data, training.'
    """
    names = sorted(known)
    close = nearest_name(name, names)
    hint = f'Did you mean "{close}"? ' if close else ""
    return f"{hint}Known: {', '.join(names)}."


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name that is meant; "" where none is alike."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), "")
