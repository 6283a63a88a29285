"""What is said while images are decoded, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

_SILENT_SECONDS = 2.0
"""Sets that are read in less time than this say nothing."""
_LINE_SECONDS = 10.0
"""Seconds between two lines where there is no terminal."""

Item = TypeVar("Item")


def say(line: str) -> None:
    """Print a line about the data on standard error."""
    print(line, file=sys.stderr, flush=True)


def show_progress(items: Iterable[Item], total: int, title: str) -> Generator[Item, None, None]:
    """Yield `items`, of which there are `total`, and show how far they are once it has taken two seconds."""
    started = time.monotonic()
    iterator = iter(items)
    done = 0
    for item in iterator:
        yield item
        done += 1
        if time.monotonic() - started > _SILENT_SECONDS:
            break
    else:
        return
    yield from (_bar if _is_live() else _lines)(iterator, done, total, title, started)


def _is_live() -> bool:
    """Return whether a line may be drawn over again: on a terminal that can, and not in CI."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and os.environ.get("CI", "") in ("", "0", "false")


def _bar(items: Iterator[Item], done: int, total: int, title: str, started: float) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as progress:
        task = progress.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)


def _lines(items: Iterator[Item], done: int, total: int, title: str, started: float) -> Iterator[Item]:
    last_line = 0.0
    for count, item in enumerate(items, start=done + 1):
        yield item
        now = time.monotonic()
        if now - last_line > _LINE_SECONDS:
            left = (now - started) / count * (total - count)
            say(f"{title}: {count:,} of {total:,}, {left:.0f} s left")
            last_line = now
