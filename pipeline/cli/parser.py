"""Words behind a command. What argparse complains of is told as every other mistake is: one message, exit code 2."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from pipeline.errors import UserError, did_you_mean


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose complaints are `UserError`s with the nearest flag; `more`: words that may come first."""

    def __init__(self, command: str, says: str, *, more: Sequence[str] = ()):
        super().__init__(prog=f"python -m pipeline {command}", description=says, allow_abbrev=False)
        self.more = more

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `{self.prog} --help` lists what there is.")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        found, unknown = self.parse_known_args(words)
        flags = [*self.more, *(flag for action in self._actions for flag in action.option_strings)]
        for word in unknown:
            raise UserError(f"{self.prog} takes no {word!r}.{did_you_mean(word, flags)} --help lists what there is.")
        return found


def duration_seconds(text: str) -> float:
    """Seconds of `30d`, `12h`, `2w`."""
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no age such as 12h, 30d, 2w")
    return float(match[1]) * {"h": 3600, "d": 86400, "w": 604800}[match[2]]


def positive_int(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)
