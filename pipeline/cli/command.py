"""A command of the program: a first argument that is no override, such as `runs` in `python -m pipeline runs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_NO_COMPLETIONS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A command and its completion."""

    usage: str
    """The arguments, as the help page shows them."""
    summary: str
    """One line for the help page."""
    run: Callable[[Sequence[str]], int]
    """`run(args)` executes the command and returns its exit code."""
    complete: Callable[[Sequence[str], str], Iterable[str]] = lambda previous, prefix: _NO_COMPLETIONS
    """`complete(previous, prefix)` returns completions of `prefix`, the argument behind the arguments `previous`."""


def command_name(args: Sequence[str]) -> str | None:
    """Return the first argument if it is neither an override nor a flag, else None."""
    first = next(iter(args), "")
    return first if first and "=" not in first and first[0] not in "-+~" else None
