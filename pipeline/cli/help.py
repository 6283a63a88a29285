"""The page of `--help`: every option with the description in its file, keys, commands, flags and exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.command import Command
from pipeline.config.options import CONF, Group, groups, key
from pipeline.errors import CRASHED, FAILED, NOT_JUDGED, PASSED, SIGNALLED, USER_ERROR, UserError
from pipeline.report.console import console
from pipeline.runs.versions import PACKAGES, installed_versions

FLAGS = {
    "--help": "show this page; --hydra-help shows what else Hydra can do",
    "--cfg": "--cfg job prints every key with its value and runs nothing",
    "--resolve": "with --cfg job: print the values of ${...}",
    "--multirun": "run every combination of values with commas (-m)",
    "--config-dir": "a folder of your own options, laid out as conf/ is: FOLDER/optimizer/slow.yaml",
    "--version": "print the versions of this program and of the packages that decide its results",
}
HYDRA_FLAGS = ("--hydra-help", "--package", "--run", "--info")
"""Flags of Hydra that --hydra-help explains."""
SECTIONS = {
    "Data": ("data", "preprocessing", "augmentation"),
    "Network": ("model", "activation", "init", "batchnorm"),
    "Loss and optimization": ("loss", "regularization", "optimizer", "schedule"),
    "Workflow": ("stage", "checks", "signals", "search", "trainer", "logger"),
}
"""The groups of each section. Groups of no section come last."""
COMMON_KEYS = (
    *("seed", "name", "tags", "resume", "fix", "verbose", "data.path", "data.batch_size", "data.limit"),
    *("model.depth", "model.width", "init.bias", "init.output_scale", "optimizer.lr", "optimizer.momentum"),
    *("regularization.l2", "regularization.dropout", "stages.train.epochs", "stages.overfit.examples"),
    *("stages.overfit.steps", "trainer.precision", "trainer.devices", "compile", "search.trials", "search.space"),
    *("search.workers", "search.storage", "search.dry_run", "outputs"),
)
"""The keys that are typed most."""
EXAMPLES = {
    "pipeline": "sanity, overfit, train, evaluate on the data set that ships with the program",
    "pipeline stage=sanity init=xavier activation=tanh": "one stage",
    "pipeline data=digits optimizer=adam optimizer.lr=0.003": "options and keys",
    "pipeline data=image_folder data.path=photos data.size=32": "your own images",
    "pipeline fix=true init=zeros": "try remedies for what the checks find",
    "pipeline -m seed=0,1,2": "several runs",
    "pipeline 'search=[coarse,fine]' 'optimizer.lr=tag(log,interval(1e-5,1))'": "search for a learning rate",
}
EXIT_CODES = {
    f"{PASSED}": "every stage passed",
    f"{CRASHED}": "the program crashed",
    f"{USER_ERROR}": "the configuration or the data is wrong",
    f"{FAILED}": "a stage failed its checks",
    f"{NOT_JUDGED}": "diagnose: too little was logged for a verdict",
    f"{SIGNALLED + 2}, {SIGNALLED + 15}": "stopped by Ctrl-C, SIGTERM; continue with resume=auto",
}


def print_help(args: Sequence[str], commands: Mapping[str, Command]) -> int:
    """Print the page. With `--config-dir FOLDER` in `args`, it includes the options of that folder."""
    out = console()
    by_name = groups([*_config_dirs(args), CONF])
    out.print(Text.assemble(("pipeline", "bold"), " [group=option ...] [key=value ...] [--flag ...]"))
    out.print(Text.assemble(("pipeline", "bold"), " command ..."))
    out.print("`python -m pipeline` is the same program. The first option is the default.", style="dim")
    in_sections = {name for names in SECTIONS.values() for name in names}
    sections = SECTIONS | {"More": tuple(name for name in by_name if name not in in_sections)}
    for title, names in sections.items():
        if any(name in by_name for name in names):
            _print_title(out, title)
            for name in names:
                if name in by_name:
                    _print_group(out, by_name[name])
    common = [(name, found) for name in COMMON_KEYS if (found := key(name))]
    _print_section(out, "Common keys", ((f"{name}={found.value}", found.description) for name, found in common))
    _print_section(out, "Commands", ((f"{name} {c.usage}".strip(), c.summary) for name, c in commands.items()))
    _print_section(out, "Flags", FLAGS.items())
    _print_section(out, "Examples", EXAMPLES.items())
    _print_section(out, "Exit codes", EXIT_CODES.items())
    return PASSED


def print_versions() -> int:
    """Print the versions of the program and of the packages that decide what a run computes."""
    installed = installed_versions()
    for package in PACKAGES:
        print(f"{package} {installed[package]}" if package in installed else f"{package} is not installed")
    return PASSED


def _print_title(out: Console, title: str) -> None:
    out.print()
    out.print(Text(title, "bold"))


def _print_section(out: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    _print_title(out, title)
    _print_rows(out, rows)


def _print_group(out: Console, group: Group) -> None:
    several = group.chosen
    if len(several) < 2:
        several = tuple(option.name for option in group.options if option.name != "none")
    hint = f"  one, or a list: '{group.name}=[{','.join(several)}]'" if group.is_list else ""
    hint += "" if group.chosen else "  none by default"
    out.print(Text.assemble("  ", (f"{group.name}=", "bold cyan"), (hint, "dim")))
    _print_rows(out, ((option.name, option.description) for option in group.options), indent=4)


def _print_rows(out: Console, rows: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Print two columns, or the second below the first where there is no room for it."""
    pairs = list(rows)
    longest = 80 if out.soft_wrap else min(50, out.width // 2)
    width = max((len(name) for name, _ in pairs if len(name) <= longest), default=0)
    for name, text in pairs:
        if out.soft_wrap:
            out.print(Text(f"{' ' * indent}{name:<{width}}  {text}".rstrip()))
        elif len(name) > width or out.width < indent + width + 32:
            out.print(Padding(Text(name, "cyan"), (0, 0, 0, indent)))
            out.print(Padding(Text(text), (0, 0, 0, indent + 4)))
        else:
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(width=width, no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row(Text(name, "cyan"), Text(text))
            out.print(Padding(table, (0, 0, 0, indent)))


def _config_dirs(args: Sequence[str]) -> list[Path]:
    """Return the folder behind `--config-dir`, which argparse accepts in four spellings."""
    for index, arg in enumerate(args):
        flag, equals, value = arg.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value if equals else next(iter(args[index + 1 :]), ""))
            if not folder.is_dir():
                raise UserError(f"there is no folder {str(folder)!r}.", field="--config-dir")
            return [folder]
    return []
