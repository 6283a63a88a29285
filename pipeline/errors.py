"""The two ways in which a run ends early that are nobody's bug: the user's mistake, and a request to stop."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

PASSED, CRASHED, USER_ERROR, FAILED = 0, 1, 2, 3
"""Exit codes; 128 + n where signal n ended the program."""


class UserError(Exception):
    """What the user gave is wrong. Shown as one message without a traceback; exit code 2.

    `field` is the configuration key at fault, relative to whoever raises: a network that knows only `width`
    raises `UserError(..., field="width")`, and whoever built it from `model:` adds the prefix with `under`.
    """

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field

    def with_prefix(self, prefix: str) -> UserError:
        """The same error, its field seen from one level further out (`width` under `model` is `model.width`)."""
        if self.field is None:
            return self
        return UserError(self.message, field=".".join(part for part in (prefix, self.field) if part))

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def __reduce__(self) -> tuple[object, ...]:  # keyword arguments survive the pickling that joblib and spawn do
        return _rebuild, (type(self), self.message, self.field)


def _rebuild(cls: type[UserError], message: str, field: str | None) -> UserError:
    return cls(message, field=field)


class Interrupted(BaseException):
    """The user (Ctrl-C) or the machine (SIGTERM) asked for an end; the state is already saved.

    Not an `Exception`, so that no `except Exception` on the way swallows it. `signal` is the signal's number;
    the exit code is 128 + signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signal: int):
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signal,)


def did_you_mean(word: str, options: Iterable[str], *, most: int = 3) -> str:
    """` Did you mean 'a' or 'b'?` for the options closest to `word`; empty when nothing is close."""
    options = list(dict.fromkeys(options))
    by_lower = {option.lower(): option for option in options}
    close = [by_lower[o] for o in difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)]
    # `lr` for `optimizer.lr`: the last part of a dotted key counts as a whole match
    close = [o for o in options if "." in o and o.rsplit(".", 1)[1] == word][:most] or close
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
