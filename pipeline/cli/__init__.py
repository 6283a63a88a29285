"""The commands of the program. Each answers within a second and loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.command import Command
from pipeline.errors import UserError, did_you_mean

OUTPUTS = Path("outputs")
DIAGNOSE_FLAGS = [
    *("--baseline", "--classes", "--column", "--json", "--junit", "--sarif", "--steps-per-epoch"),
    *("--train-examples", "--val-examples", "--verbose"),
]


def run_command(name: str, args: Sequence[str]) -> int:
    """Run the command `name` and return its exit code. Raises `UserError` if there is no such command."""
    if name not in COMMANDS:
        closest = did_you_mean(name, COMMANDS)
        raise UserError(
            f"there is no command {name!r}.{closest} Commands: {', '.join(COMMANDS)}; everything else is key=value."
        )
    return COMMANDS[name].run(args)


# Each command imports its module when it runs, so that the help page does not wait for the others.


def _explain(args: Sequence[str]) -> int:
    from pipeline.cli.explain import explain

    return explain(args)


def _diagnose(args: Sequence[str]) -> int:
    from pipeline.cli.diagnose import diagnose

    return diagnose(args)


def _runs(args: Sequence[str]) -> int:
    from pipeline.cli.runs import runs

    return runs(args)


def _predict(args: Sequence[str]) -> int:
    from pipeline.cli.predict import predict

    return predict(args)


def _evaluate(args: Sequence[str]) -> int:
    from pipeline.cli.evaluate_run import evaluate

    return evaluate(args)


def _export(args: Sequence[str]) -> int:
    from pipeline.cli.export import export

    return export(args)


def _card(args: Sequence[str]) -> int:
    from pipeline.cli.card import card

    return card(args)


def _report(args: Sequence[str]) -> int:
    from pipeline.cli.report import report

    return report(args)


def _serve(args: Sequence[str]) -> int:
    from pipeline.cli.serve import serve

    return serve(args)


def _new(args: Sequence[str]) -> int:
    from pipeline.cli.new import new

    return new(args)


def _completion(args: Sequence[str]) -> int:
    from pipeline.cli.completion import print_completion

    return print_completion(args, COMMANDS)


def _help(args: Sequence[str]) -> int:
    from pipeline.cli.help import print_help

    return print_help(args, COMMANDS)


def _complete_check(previous: Sequence[str], prefix: str) -> list[str]:
    from pipeline.config.options import CONF, keys

    names = [name.split(".") for name in keys(CONF / "checks" / "default.yaml")]
    return [] if previous else [parts[1] for parts in names if len(parts) == 2]


def _complete_run(previous: Sequence[str], prefix: str) -> list[str]:
    """Return runs as they can be typed (`latest`, names, short ids), or folders if a path was begun."""
    from pipeline.cli.completion import complete_folders
    from pipeline.runs.index import LATEST, list_runs

    if previous:
        return []
    if "/" in prefix:
        return complete_folders(prefix)
    runs = list_runs(OUTPUTS)
    return [LATEST, *dict.fromkeys(run.name for run in runs), *(run.short_id for run in runs)] if runs else []


def _complete_runs(previous: Sequence[str], prefix: str) -> list[str]:
    return _complete_run((), prefix)


def _complete_predict(previous: Sequence[str], prefix: str) -> list[str]:
    if prefix.startswith("-"):
        return ["--out", "--page", "--json", "--top-k", "--fit", "--checkpoint"]
    return _complete_run(previous, prefix)  # behind the run the shell completes files


def _complete_export(previous: Sequence[str], prefix: str) -> list[str]:
    if previous and previous[-1] == "--format":
        return ["onnx", "torch.export"]
    return ["--format", "--out", "--checkpoint"] if prefix.startswith("-") else _complete_run(previous, prefix)


def _complete_diagnose(previous: Sequence[str], prefix: str) -> list[str]:
    from pipeline.config.options import CONF, groups, keys

    if not previous or previous[-1] == "--baseline":
        return _complete_run((), prefix)
    if prefix.startswith("-"):
        return DIAGNOSE_FLAGS
    thresholds = [f"checks.{name}=" for name, key in keys(CONF / "checks" / "default.yaml").items() if key.value]
    return [*(f"checks={option.name}" for option in groups()["checks"].options), *thresholds]


def _complete_runs_command(previous: Sequence[str], prefix: str) -> list[str]:
    flags = {"prune": ["--older", "--failed", "--keep-best", "--name", "--yes"], "diff": ["--json"]}
    if prefix.startswith("-"):
        return flags.get(previous[0] if previous else "", ["--best", "--all", "--json"])
    if not previous:
        return ["diff", "prune"]
    return _complete_run(previous[2:], prefix) if previous[0] == "diff" else []


def _complete_shell(previous: Sequence[str], prefix: str) -> list[str]:
    return [] if previous else ["bash", "zsh"]


COMMANDS = {
    "diagnose": Command(
        "PATH [checks.KEY=VALUE ...]",
        "evaluate the checks of a finished run, or of the log of another program; `diagnose --help`",
        _diagnose,
        _complete_diagnose,
    ),
    "runs": Command(
        "[diff A B|prune] [--best]", "list, compare and remove runs; `runs --help`", _runs, _complete_runs_command
    ),
    "predict": Command(
        "RUN INPUT ... [--out FILE.csv]",
        "predict images, folders, arrays or tables with a trained network; `predict --help`",
        _predict,
        _complete_predict,
    ),
    "evaluate": Command(
        "RUN [data.path=OTHER] [KEY=VALUE ...]",
        "measure a trained network on its test split, or on other data; `evaluate --help`",
        _evaluate,
        _complete_run,
    ),
    "export": Command(
        "RUN --format onnx|torch.export",
        "write a trained network with its preprocessing for other programs; `export --help`",
        _export,
        _complete_export,
    ),
    "card": Command("RUN", "print a model card: data, recipe, metrics, findings, limits", _card, _complete_run),
    "report": Command(
        "[RUN ...]", "write report.html again, and outputs/index.html of all runs", _report, _complete_runs
    ),
    "serve": Command("[--port 8000]", "show all runs in a browser on this machine", _serve),
    "explain": Command(
        "[CHECK]",
        "show what a check measures, why, and its remedies; without CHECK all checks",
        _explain,
        _complete_check,
    ),
    "new": Command("DIR", "make a project of your own: data, network, check, options and a test", _new),
    "completion": Command(
        "bash|zsh", "print the lines that let your shell complete with Tab", _completion, _complete_shell
    ),
    "help": Command("", "show this page", _help),
}
