"""The parser of a command's arguments. A mistake is a `UserError`, as everywhere: one message, exit code 2."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from pipeline.errors import UserError, did_you_mean

SECONDS = {"h": 3600, "d": 86400, "w": 604800}


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises `UserError`, with the closest flag for an unknown argument.

    `subcommands` are names that may come first; they are only used for suggestions.
    """

    def __init__(self, command: str, description: str, *, subcommands: Sequence[str] = ()):
        super().__init__(prog=f"python -m pipeline {command}", description=description, allow_abbrev=False)
        self.subcommands = subcommands

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `{self.prog} --help` lists all arguments.")

    def parse(self, args: Sequence[str], *, intermixed: bool = False) -> argparse.Namespace:
        """Parse `args`. Raises `UserError` for a missing, wrong or unknown argument.

        With `intermixed`, flags may stand between arguments of one list.
        """
        parsed, unknown = (self.parse_known_intermixed_args if intermixed else self.parse_known_args)(args)
        known = [*self.subcommands, *(flag for action in self._actions for flag in action.option_strings)]
        for arg in unknown:
            raise UserError(f"{self.prog} does not take {arg!r}.{did_you_mean(arg, known)} --help lists all arguments.")
        return parsed


def duration_seconds(text: str) -> float:
    """Return the seconds of a duration such as `12h`, `30d` or `2w`."""
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 12h, 30d, 2w")
    return float(match[1]) * SECONDS[match[2]]


def positive_int(text: str) -> int:
    """Return the whole number in `text`, which must be at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
