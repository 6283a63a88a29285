"""The console that messages go to: a terminal with colours and a width, or plain lines in a pipe."""

from __future__ import annotations

import os
import sys

from rich.console import Console

SEVERITY_COLORS = {"failure": "red", "warning": "yellow", "info": "cyan"}


class _Console(Console):
    """A console that can continue silently once the reader of its output is gone."""

    ignores_broken_pipe = False

    def on_broken_pipe(self) -> None:
        """Discard all further output, where Rich would end the program with the exit code of a crash."""
        if not self.ignores_broken_pipe:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.quiet = True


def console(*, ignore_broken_pipe: bool = False) -> Console:
    """Return a console on standard output. In a pipe, nothing is wrapped, cut or coloured."""
    made = _Console(highlight=False)
    made.ignores_broken_pipe = ignore_broken_pipe
    made.soft_wrap = not made.is_terminal
    return made


def is_live(console: Console) -> bool:
    """Return whether a line may be drawn over again: on a terminal that can, and not in CI."""
    return console.is_terminal and not console.is_dumb_terminal and os.environ.get("CI", "") in ("", "0", "false")
