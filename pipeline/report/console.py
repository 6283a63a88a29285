"""Where words go: a terminal with colours and its width, or plain whole lines where nobody looks."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from pipeline.checks import Severity

SEVERITY_COLORS: dict[Severity, str] = {"failure": "red", "warning": "yellow", "info": "cyan"}


class _Console(Console):
    """`unheard`: goes on, silently, once whoever read its output is gone."""

    unheard = False

    def on_broken_pipe(self) -> None:
        """Rich itself would end the program with the code of a crash."""
        if not self.unheard:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.quiet = True


def console(*, unheard: bool = False) -> Console:
    """Standard output. In a pipe a line is a line: nothing is wrapped, cut or coloured."""
    made = _Console(highlight=False)
    made.unheard = unheard
    made.soft_wrap = not made.is_terminal
    return made


def is_live(console: Console) -> bool:
    """Whether a line may be drawn over again: on a terminal that can, with somebody in front of it."""
    return console.is_terminal and not console.is_dumb_terminal and os.environ.get("CI", "") in ("", "0", "false")
