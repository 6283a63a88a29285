"""Where words go: a terminal with colours and its width, or plain whole lines where nobody looks."""

from __future__ import annotations

import os

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Standard output, or standard error. In a pipe a line is a line: nothing is wrapped, cut or coloured."""
    made = Console(highlight=False, stderr=stderr)
    made.soft_wrap = not made.is_terminal
    return made


def is_live(console: Console) -> bool:
    """Whether a line may be drawn over again: on a terminal that can, with somebody in front of it."""
    return console.is_terminal and not console.is_dumb_terminal and os.environ.get("CI", "") in ("", "0", "false")
