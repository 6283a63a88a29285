"""What the program does beside running stages: a first word that is no override. Each is quick and loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Command:
    """`run` takes the words that follow the command and returns the exit code; `complete` the words before the one
    that is being typed, and that one, and gives what it may become."""

    takes: str
    says: str
    run: Callable[[Sequence[str]], int]
    complete: Callable[[Sequence[str], str], Iterable[str]] = lambda before, word: ()


def _explain(words: Sequence[str]) -> int:
    from pipeline.commands.explain import explain

    return explain(words)


def _diagnose(words: Sequence[str]) -> int:
    from pipeline.diagnose import diagnose

    return diagnose(words)


def _completion(words: Sequence[str]) -> int:
    from pipeline.commands.completion import completion

    return completion(words)


def _help(words: Sequence[str]) -> int:
    from pipeline.commands.help import print_help

    return print_help(words)


def _checks(before: Sequence[str], word: str) -> list[str]:
    from pipeline.menu import CONF, keys

    names = [name.split(".") for name in keys(CONF / "checks" / "default.yaml")]
    return [] if before else [parts[1] for parts in names if len(parts) == 2]


def _shells(before: Sequence[str], word: str) -> list[str]:
    return [] if before else ["bash", "zsh"]


COMMANDS = {
    "diagnose": Command("RUN [checks.KEY=VALUE ...]", "judge a finished run again", _diagnose),
    "explain": Command(
        "[CHECK]", "what a check looks at, why, and what mends it; alone: all checks", _explain, _checks
    ),
    "completion": Command("bash|zsh", "the lines that let your shell complete with Tab", _completion, _shells),
    "help": Command("", "this page", _help),
}


def asked(arguments: Sequence[str]) -> str | None:
    """The command: the first word, where it is neither an override nor a flag."""
    word = next(iter(arguments), "")
    return word if word and "=" not in word and word[0] not in "-+~" else None


def obey(word: str, arguments: Sequence[str]) -> int:
    """Do what the command says. Raises `UserError` for a word that is none."""
    if word not in COMMANDS:
        meant = did_you_mean(word, COMMANDS)
        raise UserError(f"there is no command {word!r}.{meant} Commands: {', '.join(COMMANDS)}; all else is key=value.")
    return COMMANDS[word].run(arguments)
