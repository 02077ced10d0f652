"""The command line: each command says what it takes, and calls the room that does it.

Nothing heavy is imported here: `attuner --help` answers in a moment, and a command imports
what it needs when it runs.
"""

from attuner.cli.app import main

__all__ = ["main"]
