"""Errors that are not bugs (a mistake of the user, a request to stop), the exit codes, and suggestions for typos."""

from __future__ import annotations

import difflib
import functools
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

PASSED, CRASHED, USER_ERROR, FAILED, NOT_JUDGED = 0, 1, 2, 3, 4
"""Exit codes of the program. `NOT_JUDGED` is that of `diagnose` where nothing that a verdict needs was logged. A
program that signal n ended exits with `SIGNALLED` + n."""
SIGNALLED = 128


class UserError(Exception):
    """A mistake in what the user gave. It is shown as one message without a traceback; the exit code is `USER_ERROR`.

    The message states the rule, what was received, and the likely fix. `field` is the configuration key at fault, seen
    from the code that raises: a network that knows only `width` raises `UserError(..., field="width")`, and the code
    that builds it from the node `model` adds the rest with `with_prefix("model")`.
    """

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field

    def with_prefix(self, prefix: str) -> UserError:
        """Return the same error with `prefix` before its field: `width` under `model` becomes `model.width`."""
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
    """A request to stop, by the user (Ctrl-C) or by the machine (SIGTERM). The state of the run is already saved.

    It is not an `Exception`, so that no `except Exception` on the way swallows it. `signal` is the number of the
    signal, and the exit code is `SIGNALLED` + `signal`: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signal: int):
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signal,)


def did_you_mean(word: str, options: Iterable[str], *, most: int = 3) -> str:
    """Return ` Did you mean 'a' or 'b'?` for the options closest to `word`, at most `most`; "" if none is close.

    For the last part of a dotted key (`lr`), the keys that end with it (`optimizer.lr`) are the closest.
    """
    options = list(dict.fromkeys(options))
    by_lower = {option.lower(): option for option in options}
    close = [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)]
    close = [option for option in options if "." in option and option.rsplit(".", 1)[1] == word][:most] or close
    return f" Did you mean {' or '.join(repr(option) for option in close)}?" if close else ""


def user_frames(error: BaseException) -> str:
    """Return the lines of the user's own files in the traceback of `error`, each on a line of its own.

    It is "" where the error came from elsewhere: the user's code called nothing of this program that then failed.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if _is_in(frame.filename, _package_folders())]
    theirs = [
        i for i, frame in enumerate(frames) if not _is_in(frame.filename, _library_folders() + _package_folders())
    ]
    if not theirs or theirs[-1] < max(own, default=-1):
        return ""
    first = own[0] if own else 0  # what comes before started this program
    lines = [
        f"\n  {frames[i].filename}:{frames[i].lineno} in {frames[i].name}: {frames[i].line}"
        for i in theirs
        if i > first
    ]
    return "".join(lines)


_TYPED = ("<stdin>", "<string>", "<ipython")
"""How Python calls code that was typed; other names in angle brackets are those of generated code."""


def _is_in(filename: str, folders: tuple[str, ...]) -> bool:
    return filename.startswith(folders) or (filename[:1] == "<" and not filename.startswith(_TYPED))


@functools.cache
def _package_folders() -> tuple[str, ...]:
    return (f"{Path(__file__).resolve().parent}/",)


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({f"{paths[name]}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def list_names(names: Iterable[str], *, most: int = 3, separator: str = ", ") -> str:
    """Join the first `most` names; if there are more, say how many."""
    names = list(names)
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def quote_names(names: Iterable[str], *, most: int = 3) -> str:
    """Join the first `most` names in quotes; if there are more, say how many."""
    return list_names(map(repr, names), most=most)
