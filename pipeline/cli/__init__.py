"""What the program does beside running stages: a first word that is no override. Each is quick and loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Command:
    """`run` takes the words that follow the command and returns the exit code; `complete` the words before the one
    that is being typed, and that one, and gives what it may become."""

    usage: str
    summary: str
    run: Callable[[Sequence[str]], int]
    complete: Callable[[Sequence[str], str], Iterable[str]] = lambda before, word: ()


def _explain(words: Sequence[str]) -> int:
    from pipeline.cli.explain import explain

    return explain(words)


def _diagnose(words: Sequence[str]) -> int:
    from pipeline.cli.diagnose import diagnose
    from pipeline.runs.index import resolve_run

    if words and words[0][:1] not in "-+" and "=" not in words[0]:
        words = [str(resolve_run(words[0], Path("outputs"))), *words[1:]]
    return diagnose(words)


def _runs(words: Sequence[str]) -> int:
    from pipeline.cli.runs import runs

    return runs(words)


def _report(words: Sequence[str]) -> int:
    from pipeline.cli.report import report

    return report(words)


def _serve(words: Sequence[str]) -> int:
    from pipeline.cli.report import serve

    return serve(words)


def _completion(words: Sequence[str]) -> int:
    from pipeline.cli.completion import print_completion

    return print_completion(words)


def _help(words: Sequence[str]) -> int:
    from pipeline.cli.help import print_help

    return print_help(words)


def _checks(before: Sequence[str], word: str) -> list[str]:
    from pipeline.config.options import CONF, keys

    names = [name.split(".") for name in keys(CONF / "checks" / "default.yaml")]
    return [] if before else [parts[1] for parts in names if len(parts) == 2]


def _references(before: Sequence[str], word: str) -> list[str]:
    """Runs as they can be typed: `latest`, names, letters of ids; or folders, where a path was begun."""
    from pipeline.cli.completion import complete_folders
    from pipeline.runs.index import LATEST, list_runs

    if before:
        return []
    if "/" in word:
        return complete_folders(word)
    runs = list_runs(Path("outputs"))
    return [LATEST, *dict.fromkeys(run.name for run in runs), *(run.short_id for run in runs)] if runs else []


def _of_diagnose(before: Sequence[str], word: str) -> list[str]:
    from pipeline.config.options import CONF, groups, keys

    if not before:
        return _references(before, word)
    limits = [f"checks.{name}=" for name, key in keys(CONF / "checks" / "default.yaml").items() if key.value]
    return [*(f"checks={option.name}" for option in groups()["checks"].options), *limits]


def _every_run(before: Sequence[str], word: str) -> list[str]:
    return _references((), word)


def _of_runs(before: Sequence[str], word: str) -> list[str]:
    if word.startswith("-"):
        prune = ["--older", "--failed", "--keep-best", "--name", "--yes"]
        return (
            prune
            if before[:1] == ["prune"]
            else ["--json"]
            if before[:1] == ["diff"]
            else ["--best", "--all", "--json"]
        )
    if not before:
        return ["diff", "prune"]
    return _references(before[2:], word) if before[0] == "diff" else []


def _shells(before: Sequence[str], word: str) -> list[str]:
    return [] if before else ["bash", "zsh"]


COMMANDS = {
    "diagnose": Command("RUN [checks.KEY=VALUE ...]", "judge a finished run again", _diagnose, _of_diagnose),
    "runs": Command("[diff A B|prune] [--best]", "list, compare and remove runs; `runs --help`", _runs, _of_runs),
    "report": Command("[RUN ...]", "make report.html anew, and outputs/index.html of all runs", _report, _every_run),
    "serve": Command("[--port 8000]", "show all runs in a browser, on 127.0.0.1 alone", _serve),
    "explain": Command(
        "[CHECK]", "what a check looks at, why, and what mends it; alone: all checks", _explain, _checks
    ),
    "completion": Command("bash|zsh", "the lines that let your shell complete with Tab", _completion, _shells),
    "help": Command("", "this page", _help),
}


def command_name(arguments: Sequence[str]) -> str | None:
    """The command: the first word, where it is neither an override nor a flag."""
    word = next(iter(arguments), "")
    return word if word and "=" not in word and word[0] not in "-+~" else None


def run_command(word: str, arguments: Sequence[str]) -> int:
    """Do what the command says. Raises `UserError` for a word that is none."""
    if word not in COMMANDS:
        meant = did_you_mean(word, COMMANDS)
        raise UserError(f"there is no command {word!r}.{meant} Commands: {', '.join(COMMANDS)}; all else is key=value.")
    return COMMANDS[word].run(arguments)
